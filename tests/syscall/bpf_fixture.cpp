#include "bpf_fixture.hpp"

#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <cerrno>
#include <fstream>

#include "helpers/helpers.hpp"
#include "syscall/bpf.hpp"
#include "vm/interpreter.hpp"

namespace skep::test {
namespace {

class MachineBpf final : public Bpf {
 public:
  explicit MachineBpf(vm::Machine& machine) : machine_(machine) {}
  long call(int command, bpf_attr* attributes, unsigned size) override {
    return sys::bpf(machine_, command, attributes, size);
  }
  unsigned cpus() const override { return machine_.cpus(); }
  std::string pin_path(const std::string& name) const override { return "/sys/fs/bpf/" + name; }
  bool unpin(const std::string& path) override { return sys::unpin(machine_, path.c_str()); }

 private:
  vm::Machine& machine_;
};

class HostBpf final : public Bpf {
 public:
  long call(int command, bpf_attr* attributes, unsigned size) override {
    const long result = ::syscall(SYS_bpf, command, attributes, size);
    return result < 0 ? -errno : result;
  }
  unsigned cpus() const override {
    // "0-3": how many CPUs there may ever be.
    std::ifstream file("/sys/devices/system/cpu/possible");
    unsigned first = 0;
    unsigned last = 0;
    char dash = 0;
    file >> first;
    if (!(file >> dash >> last)) last = first;
    return last + 1;
  }
  std::string pin_path(const std::string& name) const override {
    return "/sys/fs/bpf/skep_test_" + std::to_string(getpid()) + "_" + name;
  }
  bool unpin(const std::string& path) override { return ::unlink(path.c_str()) == 0; }
};

}  // namespace

std::unique_ptr<vm::Machine> make_machine(unsigned cpus) {
  auto machine =
      vm::Machine::create({.cpus = cpus, .engine = vm::EngineKind::kInterpreter}, helpers::builtin_helpers(),
                          vm::make_interpreter(), vm::make_interpreter());
  return machine ? std::move(*machine) : nullptr;
}

std::unique_ptr<Bpf> machine_bpf(vm::Machine& machine) { return std::make_unique<MachineBpf>(machine); }

std::unique_ptr<Bpf> host_bpf(std::string& why_not) {
  if (geteuid() != 0) {
    why_not = "not root, so the kernel's bpf(2) is not compared";
    return nullptr;
  }
  auto host = std::make_unique<HostBpf>();
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  const long map = host->call(BPF_MAP_CREATE, &attributes, sizeof attributes);
  if (map < 0) {
    why_not = std::string("the kernel refuses bpf(2): ") + std::strerror(static_cast<int>(-map));
    return nullptr;
  }
  ::close(static_cast<int>(map));
  return host;
}

void Contract::SetUp() {
  if (on_host()) {
    std::string why_not;
    bpf_ = host_bpf(why_not);
    if (!bpf_) GTEST_SKIP() << why_not;
    return;
  }
  machine_ = make_machine(4);
  ASSERT_TRUE(machine_);
  bpf_ = machine_bpf(*machine_);
}

long Contract::create_map(const bpf_attr& attributes) {
  bpf_attr copy = attributes;
  return call(BPF_MAP_CREATE, copy);
}

long Contract::create_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags) {
  bpf_attr attributes{};
  attributes.map_type = type;
  attributes.key_size = key;
  attributes.value_size = value;
  attributes.max_entries = entries;
  attributes.map_flags = flags;
  return create_map(attributes);
}

bpf_attr Contract::load_attributes(uint32_t type, std::span<const bpf_insn> code, const char* license) {
  bpf_attr attributes{};
  attributes.prog_type = type;
  attributes.insns = pointer(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = pointer(license);
  return attributes;
}

long Contract::load(const bpf_attr& attributes) {
  bpf_attr copy = attributes;
  return call(BPF_PROG_LOAD, copy);
}

long Contract::load(uint32_t type, std::span<const bpf_insn> code, const char* license) {
  return load(load_attributes(type, code, license));
}

long Contract::update(const Fd& map, const void* key, const void* value, uint64_t flags) {
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(key);
  attributes.value = pointer(value);
  attributes.flags = flags;
  return call(BPF_MAP_UPDATE_ELEM, attributes);
}

long Contract::lookup(const Fd& map, const void* key, void* value, uint64_t flags) {
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(key);
  attributes.value = pointer(value);
  attributes.flags = flags;
  return call(BPF_MAP_LOOKUP_ELEM, attributes);
}

long Contract::erase(const Fd& map, const void* key) {
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(key);
  return call(BPF_MAP_DELETE_ELEM, attributes);
}

long Contract::next_key(const Fd& map, const void* key, void* next) {
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  attributes.key = pointer(key);
  attributes.next_key = pointer(next);
  return call(BPF_MAP_GET_NEXT_KEY, attributes);
}

long Contract::freeze(const Fd& map) {
  bpf_attr attributes{};
  attributes.map_fd = map.field();
  return call(BPF_MAP_FREEZE, attributes);
}

uint32_t Contract::map_id(const Fd& map) {
  bpf_map_info out{};
  EXPECT_EQ(info(map, out), 0);
  return out.id;
}

uint32_t Contract::program_id(const Fd& program) {
  bpf_prog_info out{};
  EXPECT_EQ(info(program, out), 0);
  return out.id;
}

long Contract::by_id(int command, uint32_t id) {
  bpf_attr attributes{};
  attributes.map_id = id;
  return call(command, attributes);
}

std::string side_name(const testing::TestParamInfo<Side>& info) {
  return info.param == Side::kMachine ? "Machine" : "Host";
}

}  // namespace skep::test
