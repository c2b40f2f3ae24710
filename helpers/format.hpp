#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "vm/cpu.hpp"

namespace skep::helpers {

// What bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf print, as the kernel's bpf_bprintf_prepare and
// bstr_printf: %d %i %u %x %X %o with l and ll, %c %s %p %px %pK %pi4 %pI4 %pi6 %pI6, flags and widths.
// Memory that %s and %pI refer to is read only where the program may; a string elsewhere is empty. Fails with
// a positive error number: EINVAL for an unknown conversion, a byte that is not ASCII, or more conversions
// than arguments.
std::expected<std::string, int> format(vm::Cpu& cpu, std::string_view text,
                                       std::span<const uint64_t> arguments);

}  // namespace skep::helpers
