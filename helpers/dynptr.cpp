#include "vm/dynptr.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "helpers/functions.hpp"

namespace skep::helpers {

using vm::Dynptr;

namespace {

// bpf_dynptr_check_off_len
bool within(const Dynptr& dynptr, uint32_t offset, uint32_t length) {
  return length <= dynptr.size() && offset <= dynptr.size() - length;
}

std::byte* memory(uint64_t address) { return reinterpret_cast<std::byte*>(address); }

}  // namespace

uint64_t dynptr_from_mem(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu&) {
  const auto size = static_cast<uint32_t>(r2);
  const int refused = size > Dynptr::kMaxSize ? E2BIG : r3 != 0 ? EINVAL : 0;
  (refused != 0 ? Dynptr{} : Dynptr::make(r1, Dynptr::Type::kLocal, size)).store(r4);
  return error(refused);
}

uint64_t dynptr_read(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu&) {
  const Dynptr source = Dynptr::load(r3);
  const auto length = static_cast<uint32_t>(r2);
  const auto offset = static_cast<uint32_t>(r4);
  if (source.data == 0 || r5 != 0) return error(EINVAL);
  if (!within(source, offset, length)) return error(E2BIG);
  std::memmove(memory(r1), memory(source.begin() + offset), length);
  return 0;
}

uint64_t dynptr_write(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu&) {
  const Dynptr target = Dynptr::load(r1);
  const auto offset = static_cast<uint32_t>(r2);
  const auto length = static_cast<uint32_t>(r4);
  if (target.data == 0 || target.read_only()) return error(EINVAL);
  if (!within(target, offset, length)) return error(E2BIG);
  if (r5 != 0) return error(EINVAL);
  std::memmove(memory(target.begin() + offset), memory(r3), length);
  return 0;
}

uint64_t dynptr_data(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu&) {
  const Dynptr dynptr = Dynptr::load(r1);
  const auto offset = static_cast<uint32_t>(r2);
  if (dynptr.data == 0 || dynptr.read_only() || !within(dynptr, offset, static_cast<uint32_t>(r3))) return 0;
  return dynptr.begin() + offset;
}

}  // namespace skep::helpers
