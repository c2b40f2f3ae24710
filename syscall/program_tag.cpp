#include "syscall/program_tag.hpp"

#include <boost/uuid/detail/sha1.hpp>
#include <vector>

namespace skep::sys {

ProgramTag program_tag(std::span<const isa::Encoded> code, std::span<const isa::Instruction> decoded) {
  std::vector<isa::Encoded> plain(code.begin(), code.end());
  for (const isa::Instruction& i : decoded) {
    if (i.op != isa::Op::kLdMapFd && i.op != isa::Op::kLdMapValue) continue;
    plain[i.slot].imm = 0;
    plain[i.slot + 1].imm = 0;
  }
  boost::uuids::detail::sha1 sha;
  sha.process_bytes(plain.data(), plain.size() * sizeof(isa::Encoded));
  unsigned int digest[5];
  sha.get_digest(digest);
  ProgramTag tag{};
  for (size_t i = 0; i < tag.size(); ++i) tag[i] = static_cast<uint8_t>(digest[i / 4] >> (24 - i % 4 * 8));
  return tag;
}

}  // namespace skep::sys
