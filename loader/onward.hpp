#pragma once

#include <optional>

#include "skep/machine.hpp"
#include "vm/forward.hpp"

namespace skep::loader {

// What a run redirected, on its way, with the first fault of a program that met it there.
class Onward {
 public:
  Onward(vm::Machine& machine, bool keep_data);
  // The forwarder holds a pointer to it.
  Onward(const Onward&) = delete;
  Onward& operator=(const Onward&) = delete;

  void carry_on(vm::Runner& runner, const vm::PacketContext& packet, uint64_t r0) {
    forwarder_.carry_on(runner, packet, r0);
  }
  void deliver(vm::Runner* held) { forwarder_.deliver(held); }

  const std::optional<Fault>& fault() const { return fault_; }
  const Forwarding& result() const { return forwarder_.result(); }
  Forwarding take_result() { return forwarder_.take_result(); }

 private:
  std::optional<Fault> fault_;
  vm::Forwarder forwarder_;
};

// A fault in words that outlive its program.
Fault public_fault(const vm::Fault& fault);

}  // namespace skep::loader
