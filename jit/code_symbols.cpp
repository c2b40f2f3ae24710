#include "jit/code_symbols.hpp"

#include <algorithm>
#include <string_view>

#include "jit/native_program.hpp"

namespace skep::jit {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Lines and words of the tools' files are not for a program to make.
std::string plain(std::string_view name) {
  std::string out(name);
  std::ranges::replace_if(out, [](char c) { return !is_plain(c); }, '_');
  return out;
}

}  // namespace

std::vector<CodeSymbol> code_symbols(const vm::Program& program, const CodeLayout& layout) {
  const std::string& name = program.spec().name;
  const std::string prefix = "bpf_prog_" + (name.empty() ? std::to_string(program.id()) : plain(name));
  std::vector<CodeSymbol> symbols;
  const auto add = [&](uint32_t begin, uint32_t end, std::string symbol) {
    if (begin < end) symbols.push_back({begin, end - begin, std::move(symbol)});
  };
  for (size_t n = 0; n < layout.functions.size(); ++n) {
    const bool last = n + 1 == layout.functions.size();
    const std::string& function = program.subprograms()[n].name;
    add(layout.functions[n], last ? layout.end_of_functions : layout.functions[n + 1],
        prefix + "_" + (function.empty() ? "main" : plain(function)));
  }
  add(layout.end_of_functions, layout.entry, prefix + ".checks");
  add(layout.entry, layout.text_size, prefix + ".entry");
  return symbols;
}

}  // namespace skep::jit
