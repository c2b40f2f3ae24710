#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "isa/instruction.hpp"
#include "skep/error.hpp"

namespace skep::bench {

// An XDP program in the host's kernel.
class KernelProgram {
 public:
  // Fails with the kernel's error and the last words of its verifier.
  static Result<KernelProgram> load(std::span<const isa::Encoded> instructions, const std::string& name);
  KernelProgram(KernelProgram&& other) noexcept;
  KernelProgram& operator=(KernelProgram&& other) noexcept;
  ~KernelProgram();

  struct Run {
    uint32_t verdict = 0;
    uint32_t nanoseconds = 0;  // of one run, the mean of all
  };
  // BPF_PROG_TEST_RUN: the kernel repeats the run and takes the time.
  Result<Run> run(std::span<const std::byte> packet, uint32_t repeat) const;

 private:
  explicit KernelProgram(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace skep::bench
