#include "bench/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

namespace skep::bench {
namespace {

// Columns on a screen: every character of these tables takes one.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string padding(const std::string& text, size_t width) {
  return std::string(width - width_of(text), ' ');
}

}  // namespace

std::vector<size_t> Table::widths() const {
  std::vector<size_t> out(rows_.front().size());
  for (const auto& row : rows_)
    for (size_t n = 0; n < out.size(); ++n) out[n] = std::max(out[n], width_of(row[n]));
  return out;
}

void Table::print(bool as_markdown) const {
  const std::vector<size_t> columns = widths();
  const char* separator = as_markdown ? " | " : "  ";
  for (size_t n = 0; n < rows_.size(); ++n) {
    const auto& row = rows_[n];
    std::string line = row[0] + padding(row[0], columns[0]);
    for (size_t c = 1; c < row.size(); ++c) line += separator + padding(row[c], columns[c]) + row[c];
    fmt::print("{0}{1}{2}\n", as_markdown ? "| " : "", line, as_markdown ? " |" : "");
    if (n != 0 || !as_markdown) continue;
    fmt::print("| ---");
    for (size_t c = 1; c < row.size(); ++c) fmt::print(" | ---:");
    fmt::print(" |\n");
  }
}

bool take_flag(int& argc, char** argv, const char* flag) {
  char** const end =
      std::remove_if(argv + 1, argv + argc, [&](const char* a) { return std::string_view(a) == flag; });
  const bool found = end != argv + argc;
  argc = static_cast<int>(end - argv);
  return found;
}

}  // namespace skep::bench
