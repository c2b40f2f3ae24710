#pragma once

#include <atomic>

#include "maps/keyless_map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_QUEUE: first in, first out.
//
// Pushes have positions 0, 1, 2...; `tail_` is the position of the next push, `head_` a lower bound of the
// oldest value's. In the map is what lies in [max(head_, tail_ - max_entries), tail_): so a push into a full
// map that may overwrite drops the oldest value by pushing, in one step.
//
// A ring of slots says which node has the value of a position, and in which round of the ring it was pushed.
// A push writes its spare node, puts it into the slot of the tail's position in place of the node there, and
// moves the tail on; whoever finds the slot filled and the tail not moved moves it for the other. What was in
// the slot was popped or dropped a round ago and is the pusher's next spare. A pop copies the value and then
// moves the head: if head and tail let it have the position still, the node was not written meanwhile.
class QueueMap final : public KeylessMap {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  QueueMap(const MapSpec& spec, const MapEnvironment& environment, Mapping slots, Mapping nodes);

  int peek(void* value) override;
  int clear() override;

 protected:
  int push_node(const void* value, bool overwrite, SpareNodes::Claim& spare) override;
  int pop_node(void* value, SpareNodes::Claim& spare) override;

 private:
  // A slot's word: the round in the upper bits, in the lower ones the node, exclusive or the slot's number,
  // so that zeroed pages say that every slot has the node of its number and none was pushed.
  uint64_t slot_of(uint64_t position) const { return position & (slots_size_ - 1); }
  uint64_t word(uint64_t position, uint64_t node) const {
    return ((position >> slot_bits_) + 1) << node_bits_ | (node ^ slot_of(position));
  }
  uint64_t node_in(uint64_t word, uint64_t position) const {
    return (word & ((uint64_t{1} << node_bits_) - 1)) ^ slot_of(position);
  }
  bool is_of(uint64_t word, uint64_t position) const {
    return word >> node_bits_ == this->word(position, 0) >> node_bits_;
  }
  std::atomic<uint64_t>& slot(uint64_t position) const {
    return reinterpret_cast<std::atomic<uint64_t>*>(slots_.data())[slot_of(position)];
  }
  std::byte* value(uint64_t node) const { return nodes_.data() + node * value_stride_; }
  // The oldest value's position and a copy of it.
  struct Oldest {
    uint64_t head = 0;
    uint64_t position = 0;
    bool found = false;
  };
  Oldest copy_oldest(void* value);
  void advance_tail(uint64_t from);

  Mapping slots_;
  Mapping nodes_;
  uint64_t slots_size_;
  unsigned slot_bits_;
  unsigned node_bits_;
  size_t value_stride_;
  uint64_t limit_;
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace skep::maps
