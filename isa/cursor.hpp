#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace skep::isa {

// A reading position in assembler text. Every read skips blanks first and, where it fails, leaves the
// position as it was.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}

  uint32_t line() const { return line_; }
  uint32_t column() const { return static_cast<uint32_t>(position_ - line_start_) + 1; }

  // Past blanks and comments, staying on the line (a comment between /* and */ may span lines).
  void skip_blanks();
  // Past the end of the line, if that is where the position is.
  bool end_of_line();
  bool end();

  bool accept(std::string_view symbol);
  // One character right at the position.
  bool accept_here(char c);
  // As accept(), for a word that no letter, digit or underscore may follow.
  bool accept_word(std::string_view word);
  // A name: letters, digits, '_', '.' and '$', not beginning with a digit. Empty if there is none.
  std::string_view name();
  // A number with an optional sign. Its value is the 64 bits; `negative` says whether it had a minus. nullopt
  // if there is none or it does not fit 64 bits.
  struct Number {
    uint64_t bits = 0;
    bool negative = false;
  };
  std::optional<Number> number();
  // Past the next such character on this line, or to the line's end.
  void skip_past(char c);
  // The character at the position, with no blanks skipped; 0 at the end.
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }

  struct Mark {
    size_t position;
    size_t line_start;
    uint32_t line;
  };
  Mark mark() const { return {position_, line_start_, line_}; }
  void back_to(const Mark& mark);

 private:
  bool skip_comment();
  void new_line(size_t start);

  std::string_view text_;
  size_t position_ = 0;
  size_t line_start_ = 0;
  uint32_t line_ = 1;
};

}  // namespace skep::isa
