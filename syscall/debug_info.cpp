#include "syscall/debug_info.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>

#include "syscall/command.hpp"

namespace skep::sys {
namespace {

constexpr uint32_t kMaxRecordSize = 252;  // MAX_FUNCINFO_REC_SIZE, MAX_LINEINFO_REC_SIZE

// An array of records, each perhaps longer than the struct that we know.
struct Records {
  uint64_t address;
  uint32_t count;
  uint32_t size;
  uint32_t size_field;  // where the caller is told the size that would have been right
  const char* name;
};

template <class T>
Result<std::vector<T>> read_records(Call& call, const Records& records) {
  if (records.size < sizeof(T) || records.size > kMaxRecordSize || records.size % 4 != 0)
    return fail(EINVAL, fmt::format("invalid {} rec size {}", records.name, records.size));
  std::vector<T> out;
  for (uint32_t i = 0; i < records.count; ++i) {
    const uint64_t at = records.address + uint64_t{i} * records.size;
    const long bad = check_tail_zero(call.memory, at, sizeof(T), records.size);
    if (bad == -E2BIG && !call.answer(records.size_field, static_cast<uint32_t>(sizeof(T))))
      return fail(EFAULT, "the attributes cannot be written");
    if (bad != 0)
      return fail(static_cast<int>(-bad), fmt::format("nonzero tailing record in {}", records.name));
    T record{};
    if (!call.memory.read(&record, at, sizeof record))
      return fail(EFAULT, fmt::format("{} cannot be read", records.name));
    out.push_back(record);
  }
  return out;
}

Result<void> check_functions(const DebugInfo& info) {
  const BtfImage& btf = info.btf->image;
  for (size_t i = 0; i < info.functions.size(); ++i) {
    const bpf_func_info& record = info.functions[i];
    if (i == 0 && record.insn_off != 0)
      return fail(EINVAL, fmt::format("nonzero insn_off {} for the first func info record", record.insn_off));
    if (i != 0 && record.insn_off <= info.functions[i - 1].insn_off)
      return fail(EINVAL, fmt::format("same or smaller insn offset ({}) than previous func info record ({})",
                                      record.insn_off, info.functions[i - 1].insn_off));
    if (record.type_id == 0 || record.type_id >= btf.types() ||
        btf.type(record.type_id).kind() != BTF_KIND_FUNC)
      return fail(EINVAL, fmt::format("invalid type id {} in func info", record.type_id));
  }
  return {};
}

Result<void> check_lines(const DebugInfo& info, std::span<const isa::Encoded> code) {
  const BtfImage& btf = info.btf->image;
  for (size_t i = 0; i < info.lines.size(); ++i) {
    const bpf_line_info& record = info.lines[i];
    if ((i != 0 && record.insn_off <= info.lines[i - 1].insn_off) || record.insn_off >= code.size())
      return fail(EINVAL, fmt::format("Invalid line_info[{}].insn_off:{}", i, record.insn_off));
    if (code[record.insn_off].opcode == 0)
      return fail(EINVAL, fmt::format("Invalid insn code at line_info[{}].insn_off", i));
    if (!btf.string(record.line_off) || !btf.string(record.file_name_off))
      return fail(EINVAL, fmt::format("Invalid line_info[{}].line_off or .file_name_off", i));
  }
  return {};
}

}  // namespace

Result<DebugInfo> read_debug_info(Call& call, std::span<const isa::Encoded> code) {
  const bpf_attr& attr = call.attr();
  DebugInfo info;
  if (attr.func_info_cnt == 0 && attr.line_info_cnt == 0) return info;
  auto btf = call.objects.get<BtfObject>(static_cast<int>(attr.prog_btf_fd));
  if (!btf) return std::unexpected(btf.error());
  info.btf = std::move(*btf);
  if (attr.func_info_cnt != 0) {
    auto functions =
        read_records<bpf_func_info>(call, {attr.func_info, attr.func_info_cnt, attr.func_info_rec_size,
                                           offsetof(bpf_attr, func_info_rec_size), "func info"});
    if (!functions) return std::unexpected(functions.error());
    info.functions = std::move(*functions);
    if (auto good = check_functions(info); !good) return std::unexpected(good.error());
  }
  if (attr.line_info_cnt > std::numeric_limits<int32_t>::max() / sizeof(bpf_line_info))
    return fail(EINVAL, "too many line_info records");
  if (attr.line_info_cnt != 0) {
    auto lines =
        read_records<bpf_line_info>(call, {attr.line_info, attr.line_info_cnt, attr.line_info_rec_size,
                                           offsetof(bpf_attr, line_info_rec_size), "line_info"});
    if (!lines) return std::unexpected(lines.error());
    info.lines = std::move(*lines);
    if (auto good = check_lines(info, code); !good) return std::unexpected(good.error());
  }
  return info;
}

Result<void> check_layout(const DebugInfo& info, const vm::Program& program) {
  const auto functions = program.subprograms();
  const auto slot_of = [&](const vm::Subprogram& function) { return program.code()[function.begin].slot; };
  if (!info.functions.empty()) {
    if (info.functions.size() != functions.size())
      return fail(EINVAL, "number of funcs in func_info doesn't match number of subprogs");
    for (size_t i = 0; i < functions.size(); ++i)
      if (slot_of(functions[i]) != info.functions[i].insn_off)
        return fail(EINVAL, "func_info BTF section doesn't match subprog layout in BPF program");
  }
  if (info.lines.empty()) return {};
  for (size_t i = 0; i < functions.size(); ++i)
    if (!std::ranges::binary_search(info.lines, slot_of(functions[i]), {}, &bpf_line_info::insn_off))
      return fail(EINVAL, fmt::format("missing bpf_line_info for func#{}", i));
  return {};
}

std::vector<vm::SourceLine> source_lines(const DebugInfo& info) {
  std::vector<vm::SourceLine> out;
  out.reserve(info.lines.size());
  for (const bpf_line_info& record : info.lines) {
    const BtfImage& btf = info.btf->image;
    out.push_back({.slot = record.insn_off,
                   .file = std::string(btf.string(record.file_name_off).value_or("")),
                   .text = std::string(btf.string(record.line_off).value_or("")),
                   .line = BPF_LINE_INFO_LINE_NUM(record.line_col),
                   .column = BPF_LINE_INFO_LINE_COL(record.line_col)});
  }
  return out;
}

std::vector<std::pair<uint32_t, std::string>> function_names(const DebugInfo& info) {
  std::vector<std::pair<uint32_t, std::string>> out;
  out.reserve(info.functions.size());
  for (const bpf_func_info& record : info.functions)
    out.emplace_back(record.insn_off,
                     info.btf->image.string(info.btf->image.type(record.type_id).name).value_or(""));
  return out;
}

}  // namespace skep::sys
