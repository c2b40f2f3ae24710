#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "skep/error.hpp"
#include "syscall/objects.hpp"

namespace skep::sys {

struct Call;

// What BPF_PROG_LOAD says of a program's functions and source lines.
struct DebugInfo {
  std::shared_ptr<BtfObject> btf;
  std::vector<bpf_func_info> functions;
  std::vector<bpf_line_info> lines;
};

// Reads func_info and line_info and holds them against the BTF (check_btf_info of kernel/bpf/verifier.c).
// EINVAL: wrong records; E2BIG: records with more in them than is known; EFAULT; EBADF: no BTF.
Result<DebugInfo> read_debug_info(Call& call, std::span<const isa::Encoded> code);
// Whether they fit the functions that the program turned out to have. EINVAL.
Result<void> check_layout(const DebugInfo& info, const vm::Program& program);

// As the engines and the reports use it.
std::vector<vm::SourceLine> source_lines(const DebugInfo& info);
std::vector<std::pair<uint32_t, std::string>> function_names(const DebugInfo& info);

}  // namespace skep::sys
