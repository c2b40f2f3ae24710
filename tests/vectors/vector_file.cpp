#include "tests/vectors/vector_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "isa/assemble.hpp"

namespace skep::vectors {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    const size_t end = std::min(text.find_first_of(kBlanks), text.size());
    out.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return out;
}

// Decimal, or hexadecimal after 0x.
std::optional<uint64_t> number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  uint64_t value = 0;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::expected<std::vector<Vector>, VectorError> run() {
    while (!error_ && next_line()) line();
    if (!error_ && in_test_) fail("the last test has no 'end'");
    if (error_) return std::unexpected(std::move(*error_));
    return std::move(vectors_);
  }

 private:
  void fail(std::string message) { fail_at(line_, std::move(message)); }
  void fail_at(uint32_t line, std::string message) {
    if (!error_) error_ = VectorError{line, std::move(message)};
  }

  bool next_line() {
    if (text_.empty()) return false;
    const size_t end = std::min(text_.find('\n'), text_.size());
    raw_ = text_.substr(0, end);
    text_.remove_prefix(std::min(end + 1, text_.size()));
    ++line_;
    return true;
  }

  void line() {
    const std::string_view text = trimmed(raw_);
    const std::string_view keyword = text.substr(0, text.find_first_of(kBlanks));
    const std::string_view rest = trimmed(text.substr(keyword.size()));
    if (in_assembly_ && !ends_assembly(keyword)) {
      assembly_ += raw_;
      assembly_ += '\n';
      return;
    }
    if (text.empty() || text.starts_with('#')) return;
    in_assembly_ = false;
    if (!in_test_ && keyword != "test") return fail("expected 'test'");
    directive(keyword, rest);
  }
  static bool ends_assembly(std::string_view keyword) {
    return keyword == "result" || keyword == "fault" || keyword == "end";
  }

  void directive(std::string_view keyword, std::string_view rest) {
    if (keyword == "test") return begin(rest);
    if (keyword == "covers") return covers(rest);
    if (keyword == "memory") return bytes(rest, vector_.memory);
    if (keyword == "memory_after") return bytes(rest, vector_.memory_after);
    if (keyword == "fuel") return value(rest, vector_.fuel);
    if (keyword == "result") return value(rest, vector_.result);
    if (keyword == "fault") return fault(rest);
    if (keyword == "asm") return begin_assembly();
    if (keyword == "end") return end();
    fail(fmt::format("unknown keyword '{}'", keyword));
  }

  void begin(std::string_view name) {
    if (in_test_) return fail("the test before has no 'end'");
    if (name.empty()) return fail("the test has no name");
    in_test_ = true;
    vector_ = Vector{};
    vector_.name = name;
    vector_.line = line_;
    assembly_.clear();
  }

  void covers(std::string_view rest) {
    for (const std::string_view name : words(rest)) {
      const auto rows = isa::rows();
      const auto row = std::ranges::find_if(rows, [name](const isa::Row& r) { return name == r.name; });
      if (row == rows.end()) return fail(fmt::format("there is no instruction '{}'", name));
      vector_.covers.push_back(row->op);
    }
  }

  void bytes(std::string_view rest, std::optional<std::vector<uint8_t>>& out) {
    if (out) return fail("said twice");
    out.emplace();
    for (const std::string_view word : words(rest)) {
      const auto byte = number(fmt::format("0x{}", word));
      if (!byte || *byte > 0xff || word.size() != 2) return fail(fmt::format("'{}' is not a byte", word));
      out->push_back(static_cast<uint8_t>(*byte));
    }
  }

  void value(std::string_view rest, std::optional<uint64_t>& out) {
    if (out) return fail("said twice");
    out = number(rest);
    if (!out) fail(fmt::format("'{}' is not a number", rest));
  }

  void fault(std::string_view rest) {
    if (vector_.fault) return fail("said twice");
    if (rest == "memory") vector_.fault = Fault::kMemory;
    if (rest == "fuel") vector_.fault = Fault::kFuel;
    if (rest == "call-depth") vector_.fault = Fault::kCallDepth;
    if (rest == "bad-call") vector_.fault = Fault::kBadCall;
    if (!vector_.fault) fail(fmt::format("'{}' is not a kind of fault", rest));
  }

  void begin_assembly() {
    if (!assembly_.empty()) return fail("said twice");
    in_assembly_ = true;
    assembly_line_ = line_;
  }

  void end() {
    if (vector_.result.has_value() == vector_.fault.has_value()) return fail("expected a result or a fault");
    if (vector_.covers.empty()) return fail("the test covers nothing");
    const auto program = isa::assemble(assembly_);
    if (!program)
      return fail_at(assembly_line_ + program.error().line,
                     fmt::format("column {}: {}", program.error().column, program.error().message));
    if (program->empty()) return fail("the program is empty");
    vector_.program = isa::encode(*program);
    vectors_.push_back(std::move(vector_));
    in_test_ = false;
  }

  std::string_view text_;
  std::string_view raw_;
  uint32_t line_ = 0;
  bool in_test_ = false;
  bool in_assembly_ = false;
  uint32_t assembly_line_ = 0;
  std::string assembly_;
  Vector vector_;
  std::vector<Vector> vectors_;
  std::optional<VectorError> error_;
};

}  // namespace

std::expected<std::vector<Vector>, VectorError> parse(std::string_view text) { return Parser(text).run(); }

std::expected<std::vector<Vector>, VectorError> parse_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::unexpected(VectorError{0, fmt::format("cannot open {}", path)});
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return parse(text);
}

std::vector<std::string> files() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(SKEP_VECTORS_DIR))
    if (entry.path().extension() == ".vec") out.push_back(entry.path().string());
  std::ranges::sort(out);
  return out;
}

}  // namespace skep::vectors
