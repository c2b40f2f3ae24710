#include "isa/cursor.hpp"

#include <cctype>
#include <charconv>

namespace skep::isa {
namespace {

bool begins_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '$';
}
bool continues_name(char c) { return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) != 0; }

}  // namespace

void Cursor::new_line(size_t start) {
  line_start_ = start;
  ++line_;
}

void Cursor::back_to(const Mark& mark) {
  position_ = mark.position;
  line_start_ = mark.line_start;
  line_ = mark.line;
}

bool Cursor::skip_comment() {
  const std::string_view rest = text_.substr(position_);
  if (rest.starts_with('#') || rest.starts_with(';') || rest.starts_with("//")) {
    const size_t end = rest.find('\n');
    position_ = end == std::string_view::npos ? text_.size() : position_ + end;
    return true;
  }
  if (!rest.starts_with("/*")) return false;
  const size_t end = rest.find("*/", 2);
  const size_t stop = end == std::string_view::npos ? text_.size() : position_ + end + 2;
  for (; position_ < stop; ++position_)
    if (text_[position_] == '\n') new_line(position_ + 1);
  return true;
}

void Cursor::skip_blanks() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == ' ' || c == '\t' || c == '\r')
      ++position_;
    else if (!skip_comment())
      return;
  }
}

bool Cursor::end_of_line() {
  skip_blanks();
  if (peek() != '\n' || position_ >= text_.size()) return false;
  ++position_;
  new_line(position_);
  return true;
}

bool Cursor::end() {
  skip_blanks();
  return position_ >= text_.size();
}

bool Cursor::accept(std::string_view symbol) {
  const Mark start = mark();
  skip_blanks();
  if (!text_.substr(position_).starts_with(symbol)) {
    back_to(start);
    return false;
  }
  position_ += symbol.size();
  return true;
}

bool Cursor::accept_here(char c) {
  if (peek() != c || position_ >= text_.size()) return false;
  ++position_;
  return true;
}

void Cursor::skip_past(char c) {
  while (position_ < text_.size() && peek() != '\n')
    if (text_[position_++] == c) return;
}

bool Cursor::accept_word(std::string_view word) {
  const Mark start = mark();
  if (accept(word) && !continues_name(peek())) return true;
  back_to(start);
  return false;
}

std::string_view Cursor::name() {
  const Mark start = mark();
  skip_blanks();
  if (!begins_name(peek())) {
    back_to(start);
    return {};
  }
  const size_t begin = position_;
  while (continues_name(peek())) ++position_;
  return text_.substr(begin, position_ - begin);
}

std::optional<Cursor::Number> Cursor::number() {
  const Mark start = mark();
  Number result;
  if (accept("-"))
    result.negative = true;
  else
    accept("+");
  skip_blanks();
  int base = 10;
  if (accept("0x") || accept("0X"))
    base = 16;
  else if (accept("0b") || accept("0B"))
    base = 2;
  const char* begin = text_.data() + position_;
  uint64_t magnitude = 0;
  const auto [stop, error] = std::from_chars(begin, text_.data() + text_.size(), magnitude, base);
  const bool fits = error == std::errc() && (!result.negative || magnitude <= uint64_t{1} << 63);
  position_ += static_cast<size_t>(stop - begin);
  if (!fits || continues_name(peek())) {
    back_to(start);
    return std::nullopt;
  }
  result.bits = result.negative ? uint64_t{0} - magnitude : magnitude;
  return result;
}

}  // namespace skep::isa
