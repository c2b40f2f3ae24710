#include "fuzz/plain_helpers.hpp"

#include "vm/cpu.hpp"

namespace skep::fuzz {
namespace {

uint64_t mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, vm::Cpu&) {
  return a ^ (b * 3) ^ (c * 5) ^ (d * 7) ^ (e * 11);
}

uint64_t call_twice(uint64_t callback, uint64_t argument, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  uint64_t sum = 0;
  for (uint64_t n = 0; n < 2; ++n) {
    sum += cpu.call_back(callback, {n, argument, 0, 0, 0});
    if (cpu.stopped()) return 0;
  }
  return sum;
}

}  // namespace

std::vector<vm::HelperRow> plain_helpers() {
  using enum vm::Argument;
  return {
      {.id = kMix,
       .name = "mix",
       .arguments = {kAnything, kAnything, kAnything, kAnything, kAnything},
       .function = mix},
      {.id = kCallTwice, .name = "call_twice", .arguments = {kCallback, kAnything}, .function = call_twice}};
}

}  // namespace skep::fuzz
