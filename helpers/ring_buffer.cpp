#include "maps/ring_buffer.hpp"

#include <linux/bpf.h>

#include <cerrno>

#include "helpers/functions.hpp"
#include "maps/user_ring_buffer.hpp"
#include "vm/cpu.hpp"
#include "vm/dynptr.hpp"

namespace skep::helpers {

using vm::Dynptr;

namespace {

// The verifier refuses other maps than ring buffers; a program that is not verified may bring one.
maps::RingBufferMap* ring_of(uint64_t r1) { return reinterpret_cast<maps::Map*>(r1)->ring_buffer(); }

std::byte* reserve(maps::RingBufferMap& ring, uint64_t size, vm::Cpu& cpu) {
  std::byte* const record = ring.reserve(size);
  // Verified programs let go of every record: nobody needs to keep count.
  if (record != nullptr && cpu.run().mode == vm::Mode::kChecked) {
    const vm::CallSite& site = *cpu.run().call_site;
    cpu.hold({{reinterpret_cast<uintptr_t>(record), size}, &ring, site.slot, site.program});
  }
  return record;
}

void commit(uint64_t record, uint64_t flags, bool discard, vm::Cpu& cpu) {
  auto* const bytes = reinterpret_cast<std::byte*>(record);
  if (cpu.run().mode == vm::Mode::kChecked) {
    maps::RingBufferMap& ring = *cpu.held_at(record)->ring;
    cpu.let_go(record);
    ring.commit(bytes, flags, discard);
  } else {
    maps::RingBufferMap::of_record(bytes).commit(bytes, flags, discard);
  }
}

void commit_dynptr(uint64_t address, uint64_t flags, bool discard, vm::Cpu& cpu) {
  const Dynptr dynptr = Dynptr::load(address);
  if (dynptr.data == 0) return;
  // The verifier admits no other kind.
  if (dynptr.type() != Dynptr::Type::kRingbuf) {
    const vm::CallSite& site = *cpu.run().call_site;
    cpu.raise({.kind = vm::FaultKind::kBadCall,
               .slot = site.slot,
               .program = site.program,
               .address = address,
               .helper = site.helper ? site.helper->name : nullptr});
    return;
  }
  commit(dynptr.data, flags, discard, cpu);
  Dynptr{}.store(address);
}

// Calls the program's function for each sample: (dynptr, context).
class CallbackSamples final : public maps::SampleVisitor {
 public:
  CallbackSamples(vm::Cpu& cpu, uint64_t callback, uint64_t context)
      : cpu_(cpu), callback_(callback), context_(context) {}

  long sample(std::span<std::byte> bytes) override {
    const Dynptr dynptr = Dynptr::make(reinterpret_cast<uintptr_t>(bytes.data()), Dynptr::Type::kLocal,
                                       static_cast<uint32_t>(bytes.size()));
    const vm::ScopedGrant bytes_grant(cpu_, bytes.data(), bytes.size());
    const vm::ScopedDynptr scoped(cpu_, &dynptr);
    const uint64_t r0 = cpu_.call_back(callback_, {reinterpret_cast<uintptr_t>(&dynptr), context_, 0, 0, 0});
    return r0 != 0 || cpu_.stopped() ? 1 : 0;
  }

 private:
  vm::Cpu& cpu_;
  uint64_t callback_;
  uint64_t context_;
};

}  // namespace

uint64_t ringbuf_output(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu&) {
  maps::RingBufferMap* const ring = ring_of(r1);
  if (ring == nullptr) return error(EINVAL);
  return static_cast<uint64_t>(int64_t{ring->output(reinterpret_cast<const void*>(r2), r3, r4)});
}

uint64_t ringbuf_reserve(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu& cpu) {
  maps::RingBufferMap* const ring = ring_of(r1);
  if (ring == nullptr || r3 != 0) return 0;
  return reinterpret_cast<uintptr_t>(reserve(*ring, r2, cpu));
}

uint64_t ringbuf_submit(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  commit(r1, r2, false, cpu);
  return 0;
}

uint64_t ringbuf_discard(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  commit(r1, r2, true, cpu);
  return 0;
}

uint64_t ringbuf_query(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu&) {
  const maps::RingBufferMap* const ring = ring_of(r1);
  return ring == nullptr ? error(EINVAL) : ring->query(r2);
}

uint64_t ringbuf_reserve_dynptr(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  maps::RingBufferMap* const ring = ring_of(r1);
  const auto size = static_cast<uint32_t>(r2);
  Dynptr{}.store(r4);
  if (ring == nullptr || r3 != 0) return error(EINVAL);
  if (size > Dynptr::kMaxSize) return error(E2BIG);
  const std::byte* const record = reserve(*ring, size, cpu);
  if (record == nullptr) return error(EINVAL);
  Dynptr::make(reinterpret_cast<uintptr_t>(record), Dynptr::Type::kRingbuf, size).store(r4);
  return 0;
}

uint64_t ringbuf_submit_dynptr(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  commit_dynptr(r1, r2, false, cpu);
  return 0;
}

uint64_t ringbuf_discard_dynptr(uint64_t r1, uint64_t r2, uint64_t, uint64_t, uint64_t, vm::Cpu& cpu) {
  commit_dynptr(r1, r2, true, cpu);
  return 0;
}

uint64_t user_ringbuf_drain(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  maps::UserRingBufferMap* const ring = reinterpret_cast<maps::Map*>(r1)->user_ring_buffer();
  if (ring == nullptr) return error(EINVAL);
  CallbackSamples samples(cpu, r2, r3);
  return static_cast<uint64_t>(ring->drain(samples, r4));
}

}  // namespace skep::helpers
