#include "vm/passes/rules.hpp"

namespace skep::vm {
namespace {

// How many bits of the register an operation reverses the bytes of, and clears the rest; 0: it does not.
unsigned swapped_bits(Operation op) {
  using enum Operation;
  if (op == kBe16 || op == kBswap16) return 16;
  if (op == kBe32 || op == kBswap32) return 32;
  if (op == kBe64 || op == kBswap64) return 64;
  return 0;
}

Operation swapped_load(unsigned bits) {
  using enum Operation;
  return bits == 16 ? kLdxSwapped16 : bits == 32 ? kLdxSwapped32 : kLdxSwapped64;
}
Operation swapped_store(unsigned bits) {
  using enum Operation;
  return bits == 16 ? kStxSwapped16 : bits == 32 ? kStxSwapped32 : kStxSwapped64;
}

bool loads(Operation op, unsigned bits) {
  using enum Operation;
  if (bits == 16) return op == kLdx16 || op == kLdxIndexed16;
  if (bits == 32) return op == kLdx32 || op == kLdxIndexed32;
  return op == kLdx64 || op == kLdxIndexed64;
}

// The bits that a store of a register stores; 0: it is none.
unsigned stored_bits(Operation op) {
  using enum Operation;
  if (op == kStx16 || op == kStxIndexed16) return 16;
  if (op == kStx32 || op == kStxIndexed32) return 32;
  if (op == kStx64 || op == kStxIndexed64) return 64;
  return 0;
}

bool swap_after_load(Window& window, uint32_t n) {
  const uint8_t reg = window.at(n).dst;
  const unsigned bits = swapped_bits(window.at(n).op);
  const auto from = window.writer(reg);
  if (!from || !loads(window.at(*from).op, bits)) return false;
  // The swap goes, the load stays where it is: nobody reads the register between them.
  window.at(*from).op = swapped_load(bits);
  window.remove(n);
  return true;
}

bool swap_before_store(Window& window, uint32_t n) {
  LoweredInstruction& i = window.at(n);
  const unsigned bits = stored_bits(i.op);
  if (i.src == i.dst || i.src == i.index) return false;
  const auto from = window.sole_producer(i.src, n);
  if (!from || swapped_bits(window.at(*from).op) != bits) return false;
  window.remove(*from);
  i.op = swapped_store(bits);
  return true;
}

}  // namespace

bool concerns_byte_swap(Operation op) { return swapped_bits(op) != 0 || stored_bits(op) != 0; }

bool combine_byte_swap(Window& window, uint32_t n) {
  const Operation op = window.at(n).op;
  if (swapped_bits(op) != 0) return swap_after_load(window, n);
  return stored_bits(op) != 0 && swap_before_store(window, n);
}

}  // namespace skep::vm
