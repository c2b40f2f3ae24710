#pragma once

#include <atomic>

#include "maps/keyless_map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_STACK: last in, first out; what is overwritten in a full one is the oldest, at the bottom.
//
// Values have heights 1, 2, 3...; in the map are those above the floor up to the top's. `top_` names the node
// of the newest value, or, if there is none, one that was there before: its height is then the floor's. A
// ring of slots names the node of each height. A push makes its spare node the top; after that the slot of
// its height has to get the node, and the floor has to rise so that max_entries remain: whoever finds a top
// with that undone does it before anything else. A pop makes the node in the slot below the top. Both succeed
// only if the top is the one they began with, of which its tag makes sure; so what they read of its node was
// not written meanwhile.
class StackMap final : public KeylessMap {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  StackMap(const MapSpec& spec, const MapEnvironment& environment, Mapping slots, Mapping nodes);

  int peek(void* value) override;
  int clear() override;

 protected:
  int push_node(const void* value, bool overwrite, SpareNodes::Claim& spare) override;
  int pop_node(void* value, SpareNodes::Claim& spare) override;

 private:
  // Words name a node in the lower bits and have a tag in the upper ones. A slot's is exclusive or the slot's
  // number, so that zeroed pages say that every slot has the node of its number, and all nodes are of height
  // 0.
  uint64_t node_in(uint64_t word) const { return word & ((uint64_t{1} << node_bits_) - 1); }
  uint64_t next_word(uint64_t before, uint64_t node) const {
    return ((before >> node_bits_) + 1) << node_bits_ | node;
  }
  uint64_t slot_of(uint64_t height) const { return height & (slots_size_ - 1); }
  std::atomic<uint64_t>& slot(uint64_t height) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(slots_.data())[slot_of(height)];
  }
  uint64_t node_at(uint64_t height) const;
  std::byte* node(uint64_t number) const { return nodes_.data() + number * node_stride_; }
  // A node's height; in the list of free nodes, the next one's number + 1.
  std::atomic<uint64_t>& height(uint64_t number) const {
    return *reinterpret_cast<std::atomic<uint64_t>*>(node(number));
  }
  std::byte* value(uint64_t number) const { return node(number) + sizeof(uint64_t); }

  struct Top {
    uint64_t word = 0;
    uint64_t height = 0;
  };
  Top finished_top(SpareNodes::Claim& spare);
  bool finish(const Top& top, SpareNodes::Claim& spare);
  bool is_top(const Top& top) const;
  void give_back(uint64_t number);
  uint64_t take_free();

  Mapping slots_;
  Mapping nodes_;
  uint64_t slots_size_;
  unsigned node_bits_;
  size_t node_stride_;
  uint64_t limit_;
  alignas(64) std::atomic<uint64_t> top_{0};
  std::atomic<uint64_t> floor_{0};
  alignas(64) std::atomic<uint64_t> free_{0};  // a word, its node + 1; 0 there: none
};

}  // namespace skep::maps
