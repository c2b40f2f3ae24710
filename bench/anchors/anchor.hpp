#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// Well-known lock-free containers, as anchors for what maps cost: 4-byte keys, 8-byte values, loops in C++.
namespace skep::bench {

enum class AnchorOperation : uint8_t {
  kLoop,  // what the others cost beside the container
  kLookup,
  kReplace,
  kReinsert,  // delete and insert
  kPushPop,
};

// Random keys below a power of two, as maps.bpf.h makes them.
class RandomKeys {
 public:
  RandomKeys(uint32_t entries, unsigned thread) : mask_(entries - 1), state_(thread * 0x9e3779b97f4a7c15U) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<uint32_t>(state_ >> 33) & mask_;
  }

 private:
  uint32_t mask_;
  uint64_t state_;
};

// A container that is full: key n has the value n.
class Anchor {
 public:
  virtual ~Anchor() = default;
  virtual const char* name() const = 0;
  virtual bool has(AnchorOperation operation) const {
    return operation != AnchorOperation::kLoop && operation != AnchorOperation::kPushPop;
  }
  // Around what a thread does.
  virtual void enter() {}
  virtual void leave() {}
  // So many operations, each with a key of its own; how many did what they are for.
  virtual uint64_t run(AnchorOperation operation, RandomKeys& keys, unsigned operations) = 0;
};

// body(key) for each key; how often it was true.
template <class Body>
uint64_t count_keys(RandomKeys& keys, unsigned operations, const Body& body) {
  uint64_t done = 0;
  for (unsigned n = 0; n < operations; ++n) done += body(keys.next()) ? 1 : 0;
  return done;
}

// All bits of the key in all bits of the hash (the last step of MurmurHash3).
inline uint32_t mix(uint32_t key) {
  key = (key ^ (key >> 16)) * 0x85ebca6bU;
  key = (key ^ (key >> 13)) * 0xc2b2ae35U;
  return key ^ (key >> 16);
}

// Those whose libraries were there when this was built.
std::vector<std::unique_ptr<Anchor>> make_anchors(uint32_t entries);
std::unique_ptr<Anchor> make_loop_anchor(uint32_t entries);
std::unique_ptr<Anchor> make_cds_lfht(uint32_t entries);
std::unique_ptr<Anchor> make_libcds(uint32_t entries);
std::unique_ptr<Anchor> make_concurrency_kit(uint32_t entries);

}  // namespace skep::bench
