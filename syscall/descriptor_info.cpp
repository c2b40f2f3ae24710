#include <fmt/format.h>

#include "syscall/bpf.hpp"
#include "syscall/object_table.hpp"

// The show_fdinfo functions of kernel/bpf/syscall.c and kernel/bpf/btf.c.
namespace skep::sys {
namespace {

std::string hex(const ProgramTag& tag) {
  std::string out;
  for (const uint8_t byte : tag) out += fmt::format("{:02x}", byte);
  return out;
}

// The pages that elements and their keys take; the kernel counts a little more.
uint64_t memory_of(const maps::Map& map) {
  constexpr uint64_t kPage = 4096;
  const maps::MapSpec& spec = map.spec();
  const uint64_t bytes = uint64_t{spec.max_entries} * (spec.key_size + map.user_value_size());
  return (bytes + kPage - 1) / kPage * kPage;
}

std::string map_info(const MapObject& object) {
  const maps::MapSpec& spec = object.map->spec();
  std::string out = fmt::format(
      "map_type:\t{}\nkey_size:\t{}\nvalue_size:\t{}\nmax_entries:\t{}\nmap_flags:\t{:#x}\nmap_extra:\t{:#x}"
      "\n"
      "memlock:\t{}\nmap_id:\t{}\nfrozen:\t{}\n",
      spec.type, spec.key_size, spec.value_size, spec.max_entries,
      spec.flags & ~uint32_t{BPF_F_RDONLY | BPF_F_WRONLY}, spec.map_extra, memory_of(*object.map), object.id,
      object.map->frozen() ? 1 : 0);
  if (const auto owner = object.owner())
    out += fmt::format("owner_prog_type:\t{}\nowner_jited:\t1\n", owner->type);
  return out;
}

std::string program_info(const ProgramObject& object) {
  const size_t bytes = object.program->spec().instructions.size() * sizeof(isa::Encoded);
  return fmt::format(
      "prog_type:\t{}\nprog_jited:\t1\nprog_tag:\t{}\nmemlock:\t{}\nprog_id:\t{}\nrun_time_ns:\t{}\n"
      "run_cnt:\t{}\nrecursion_misses:\t0\nverified_insns:\t0\n",
      object.program->type().id, hex(object.tag), (bytes / 4096 + 1) * 4096, object.id,
      object.run_time_ns.load(std::memory_order_relaxed), object.runs.load(std::memory_order_relaxed));
}

std::string link_info(const LinkObject& object) {
  const auto program = object.program();
  return fmt::format("link_type:\txdp\nlink_id:\t{}\nprog_tag:\t{}\nprog_id:\t{}\nifindex:\t{}\n", object.id,
                     hex(program->tag), program->id, object.ifindex());
}

}  // namespace

std::optional<std::string> descriptor_info(vm::Machine& machine, int descriptor) {
  const auto found = machine.part<ObjectTable>().at(descriptor);
  if (!found) return std::nullopt;
  const KernelObject& object = *found->object;
  std::string out = "pos:\t0\nflags:\t02000002\nmnt_id:\t0\nino:\t0\n";
  switch (object.kind) {
    case Kind::kMap:
      return out + map_info(static_cast<const MapObject&>(object));
    case Kind::kProgram:
      return out + program_info(static_cast<const ProgramObject&>(object));
    case Kind::kLink:
      return out + link_info(static_cast<const LinkObject&>(object));
    case Kind::kBtf:
      return out + fmt::format("btf_id:\t{}\n", object.id);
    case Kind::kStatistics:
    case Kind::kPerfEvent:
      break;
  }
  return out;
}

}  // namespace skep::sys
