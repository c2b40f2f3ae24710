#pragma once

#include <cstdint>

#include "vm/passes/window.hpp"

// Rules of the combining walk: each may rewrite operation n with the help of those before it in its block.
// True: it did. Beside each is what tells the operations that it may do something with.
namespace skep::vm {

// r1 /= 10  ->  r1 = high half of r1 * 0x199999999999999a; and the shorter forms of other divisors
bool combine_division(Window& window, uint32_t n);
bool concerns_division(Operation op);
// r2 = r1; r2 ^= r3  ->  r2 = r1 ^ r3
bool combine_copy(Window& window, uint32_t n);
bool concerns_copy(Operation op);
// r2 = r1; r2 += r3; r2 += 8  ->  r2 = r1 + r3 + 8
bool combine_sum(Window& window, uint32_t n);
bool concerns_sum(Operation op);
// r2 = r1 + r3; r4 = *(r2 + 8)  ->  r4 = *(r1 + r3 + 8)
bool combine_address(Window& window, uint32_t n);
bool concerns_address(Operation op);
// r2 = r1 << 13; r1 >>= 51; r2 |= r1  ->  r2 = rotate(r1, 13)
bool combine_rotate(Window& window, uint32_t n);
bool concerns_rotate(Operation op);
// r1 = *(u16 *)(r2 + 0); r1 = be16 r1, and the same for stores
bool combine_byte_swap(Window& window, uint32_t n);
bool concerns_byte_swap(Operation op);
// r2 = r1; r2 &= 1; if r2 == 0 goto ...  ->  if !(r1 & 1) goto ...
bool combine_test(Window& window, uint32_t n);
bool concerns_test(Operation op);

}  // namespace skep::vm
