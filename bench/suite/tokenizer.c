// A tokenizer of C-like text: words, numbers, strings with escapes, line comments, operators.
#include "suite.h"

enum state { kBetween, kWord, kNumber, kString, kEscape, kSlash, kComment };
enum kind { kWords = 1, kNumbers, kStrings, kComments, kOperators };

SUITE_INLINE int is_letter(uint8_t c) { return (uint8_t)((c | 0x20) - 'a') < 26 || c == '_'; }
SUITE_INLINE int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

SUITE_INLINE enum state start_of(uint8_t c) {
  if (is_letter(c)) return kWord;
  if (is_digit(c)) return kNumber;
  if (c == '"') return kString;
  if (c == '/') return kSlash;
  return kBetween;
}

SUITE_PROGRAM(tokenizer) {
  enum state state = kBetween;
  uint64_t checksum = 0;
  for (uint64_t i = 0; i < length / 2; ++i) {
    const uint8_t c = memory[i];
    enum kind token = 0;
    switch (state) {
      case kBetween:
        state = start_of(c);
        if (state == kBetween && c > ' ') token = kOperators;
        break;
      case kWord:
        if (is_letter(c) || is_digit(c)) break;
        token = kWords;
        state = start_of(c);
        break;
      case kNumber:
        if (is_letter(c) || is_digit(c) || c == '.') break;
        token = kNumbers;
        state = start_of(c);
        break;
      case kString:
        if (c == '\\') state = kEscape;
        if (c != '"') break;
        token = kStrings;
        state = kBetween;
        break;
      case kEscape:
        state = kString;
        break;
      case kSlash:
        if (c == '/') {
          state = kComment;
          break;
        }
        token = kOperators;
        state = start_of(c);
        break;
      case kComment:
        if (c != '\n') break;
        token = kComments;
        state = kBetween;
        break;
    }
    if (token) checksum = checksum * 31 + (token << 16 | i);
  }
  return checksum;
}
