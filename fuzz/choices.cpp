#include "fuzz/choices.hpp"

#include <algorithm>

namespace skep::fuzz {

void ByteChoices::begin_step() {
  step_ = rest_.first(std::min(kStep, rest_.size()));
  rest_ = rest_.subspan(step_.size());
  uint64_t seed = 0;
  for (const uint8_t byte : step_) seed = seed * 257 + byte + 1;
  more_ = vm::Random(seed);
}

uint64_t ByteChoices::below(uint64_t bound) {
  if (bound <= 1) return 0;
  if (bound <= 0x100) return take(1) % bound;
  if (bound <= 0x10000) return take(2) % bound;
  return take(8) % bound;
}

uint64_t ByteChoices::take(size_t bytes) {
  if (step_.size() < bytes) return more_.next();
  uint64_t value = 0;
  for (size_t n = 0; n < bytes; ++n) value |= uint64_t{step_[n]} << (8 * n);
  step_ = step_.subspan(bytes);
  return value;
}

// As many as there are bytes for; the functions share them.
uint64_t ByteChoices::steps(uint64_t usual) { return std::min<uint64_t>(rest_.size() / kStep, usual * 4); }

}  // namespace skep::fuzz
