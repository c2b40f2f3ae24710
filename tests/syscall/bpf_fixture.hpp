#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vm/machine.hpp"

namespace skep::test {

// ENOTSUPP of the kernel, which <errno.h> does not have.
inline constexpr long kNotSupported = 524;

// A bpf(2): the machine's, or that of the kernel we run on. Both answer with a result or a negative error
// number.
class Bpf {
 public:
  virtual ~Bpf() = default;
  virtual long call(int command, bpf_attr* attributes, unsigned size) = 0;
  virtual unsigned cpus() const = 0;
  // A path that can be pinned to, and its removal.
  virtual std::string pin_path(const std::string& name) const = 0;
  virtual bool unpin(const std::string& path) = 0;
};

enum class Side : uint8_t { kMachine, kHost };

// A machine with `cpus` CPUs that runs programs in the interpreter, in checked mode.
std::unique_ptr<vm::Machine> make_machine(unsigned cpus);
// The bpf(2) of a machine that outlives it.
std::unique_ptr<Bpf> machine_bpf(vm::Machine& machine);
// The kernel's; nullptr, and why, where it lets us not.
std::unique_ptr<Bpf> host_bpf(std::string& why_not);

// Closes itself.
class Fd {
 public:
  Fd() = default;
  explicit Fd(long number) : number_(static_cast<int>(number)) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }
  int get() const { return number_; }
  uint32_t field() const { return static_cast<uint32_t>(number_); }

 private:
  int number_ = -1;
};

inline uint64_t pointer(const void* to) { return reinterpret_cast<uintptr_t>(to); }

// An address that nothing is at.
inline constexpr uint64_t kNowhere = 0x10;

// Instructions, spelled as <linux/bpf.h> has them.
inline bpf_insn insn(int code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(dst & 0xf), static_cast<uint8_t>(src & 0xf), off,
          imm};
}
inline bpf_insn mov(uint8_t dst, int32_t value) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}
inline bpf_insn exit_insn() { return insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }
inline bpf_insn call_helper(int32_t id) { return insn(BPF_JMP | BPF_CALL, 0, 0, 0, id); }
// r0 = value; exit
inline std::vector<bpf_insn> return_value(int32_t value) { return {mov(0, value), exit_insn()}; }

// A test whose expectations hold of every bpf(2).
class Contract : public testing::TestWithParam<Side> {
 protected:
  void SetUp() override;

  bool on_host() const { return GetParam() == Side::kHost; }
  long call(int command, bpf_attr& attributes) { return bpf_->call(command, &attributes, sizeof attributes); }

  // Each returns a descriptor or a negative error number.
  long create_map(const bpf_attr& attributes);
  long create_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags = 0);
  long load(const bpf_attr& attributes);
  long load(uint32_t type, std::span<const bpf_insn> code, const char* license = "GPL");
  // Attributes that load a program; `code` stays alive.
  static bpf_attr load_attributes(uint32_t type, std::span<const bpf_insn> code, const char* license = "GPL");

  long update(const Fd& map, const void* key, const void* value, uint64_t flags = BPF_ANY);
  long lookup(const Fd& map, const void* key, void* value, uint64_t flags = 0);
  long erase(const Fd& map, const void* key);
  long next_key(const Fd& map, const void* key, void* next);
  long freeze(const Fd& map);
  // OBJ_GET_INFO_BY_FD
  template <class Info>
  long info(const Fd& object, Info& out) {
    bpf_attr attributes{};
    attributes.info.bpf_fd = object.field();
    attributes.info.info_len = sizeof out;
    attributes.info.info = pointer(&out);
    return call(BPF_OBJ_GET_INFO_BY_FD, attributes);
  }
  uint32_t map_id(const Fd& map);
  uint32_t program_id(const Fd& program);
  long by_id(int command, uint32_t id);

  std::unique_ptr<vm::Machine> machine_;
  std::unique_ptr<Bpf> bpf_;
};

std::string side_name(const testing::TestParamInfo<Side>& info);

#define SKEP_CONTRACT(suite) \
  INSTANTIATE_TEST_SUITE_P(Each, suite, testing::Values(Side::kMachine, Side::kHost), side_name)

}  // namespace skep::test
