#pragma once

#include <string>

#include "vm/machine.hpp"

namespace skep::loader {

// libbpf knows one kernel and has nowhere to say which. While a binding lives, what the calling thread's
// libbpf calls ask of the kernel is answered by its machine, and what libbpf prints is kept. Bindings nest.
// Without one libbpf talks to the host's kernel.
//
// The build makes a copy of libbpf.a in which the system calls that matter (bpf(2), and opening, checking and
// removing the files by which libbpf sees CPUs and pins,
// and epoll(7), by which it waits for ring buffers) are calls of functions in libbpf_binding.cpp.
class LibbpfBinding {
 public:
  explicit LibbpfBinding(vm::Machine& machine);
  LibbpfBinding(const LibbpfBinding&) = delete;
  LibbpfBinding& operator=(const LibbpfBinding&) = delete;
  ~LibbpfBinding();

  // What libbpf said, one line a message, without its prefix.
  const std::string& messages() const { return messages_; }

 private:
  friend struct BindingAccess;
  vm::Machine& machine_;
  LibbpfBinding* outer_;
  std::string messages_;
};

}  // namespace skep::loader
