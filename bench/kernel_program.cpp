#include "bench/kernel_program.hpp"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace skep::bench {
namespace {

constexpr size_t kLogSize = size_t{16} * 1024 * 1024;

long command(int number, bpf_attr& attributes) {
  return syscall(__NR_bpf, number, &attributes, sizeof attributes);
}

// The verifier says last, before its statistics, what it did not like.
std::string last_words(std::string_view log) {
  log = log.substr(0, log.find("\nprocessed "));
  while (log.ends_with('\n')) log.remove_suffix(1);
  return std::string(log.substr(log.rfind('\n') + 1));
}

}  // namespace

Result<KernelProgram> KernelProgram::load(std::span<const isa::Encoded> instructions,
                                          const std::string& name) {
  std::string log;
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_XDP;
  attributes.insns = reinterpret_cast<uintptr_t>(instructions.data());
  attributes.insn_cnt = static_cast<uint32_t>(instructions.size());
  attributes.license = reinterpret_cast<uintptr_t>("GPL");
  name.copy(attributes.prog_name, sizeof attributes.prog_name - 1);
  long result = command(BPF_PROG_LOAD, attributes);
  if (result >= 0) return KernelProgram(static_cast<int>(result));
  const int error = errno;
  if (error != EPERM && error != ENOSYS) {
    log.resize(kLogSize);
    attributes.log_buf = reinterpret_cast<uintptr_t>(log.data());
    attributes.log_size = static_cast<uint32_t>(log.size());
    attributes.log_level = 1;
    result = command(BPF_PROG_LOAD, attributes);
    if (result >= 0) return KernelProgram(static_cast<int>(result));
  }
  return fail(error, fmt::format("{}: {}", std::strerror(error), last_words(log.data())));
}

KernelProgram::KernelProgram(KernelProgram&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

KernelProgram& KernelProgram::operator=(KernelProgram&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

KernelProgram::~KernelProgram() {
  if (descriptor_ >= 0) close(descriptor_);
}

Result<KernelProgram::Run> KernelProgram::run(std::span<const std::byte> packet, uint32_t repeat) const {
  bpf_attr attributes{};
  attributes.test.prog_fd = static_cast<uint32_t>(descriptor_);
  attributes.test.data_in = reinterpret_cast<uintptr_t>(packet.data());
  attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
  attributes.test.repeat = repeat;
  if (command(BPF_PROG_TEST_RUN, attributes) < 0)
    return fail(errno, fmt::format("BPF_PROG_TEST_RUN: {}", std::strerror(errno)));
  return Run{attributes.test.retval, attributes.test.duration};
}

}  // namespace skep::bench
