#include "maps/stack_map.hpp"

#include <bit>
#include <cerrno>
#include <utility>

#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

// Each of those who push or pop at a time may have, besides its spare node, one that it is about to give
// back, and one may be the top that is in no slot yet.
uint64_t free_nodes(unsigned cpus) { return uint64_t{2} * SpareNodes::count(cpus) + 1; }

uint64_t node_count(const MapEnvironment& environment, uint64_t slots) {
  return slots + SpareNodes::count(environment.cpus) + free_nodes(environment.cpus);
}

}  // namespace

Result<std::shared_ptr<Map>> StackMap::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (auto checked = check(spec); !checked) return std::unexpected(checked.error());
  const uint64_t size = ring_size(spec);
  Mapping slot_memory = Mapping::anonymous(size * sizeof(std::atomic<uint64_t>));
  Mapping node_memory = Mapping::anonymous(node_count(environment, size) *
                                           (sizeof(std::atomic<uint64_t>) + round_up_8(spec.value_size)));
  if (!slot_memory || !node_memory) return fail(ENOMEM, "there is no memory for the stack");
  return std::make_shared<StackMap>(spec, environment, std::move(slot_memory), std::move(node_memory));
}

StackMap::StackMap(const MapSpec& spec, const MapEnvironment& environment, Mapping slots, Mapping nodes)
    : KeylessMap(spec, environment, ring_size(spec)),
      slots_(std::move(slots)),
      nodes_(std::move(nodes)),
      slots_size_(ring_size(spec)),
      node_bits_(static_cast<unsigned>(std::bit_width(node_count(environment, slots_size_)))),
      node_stride_(sizeof(std::atomic<uint64_t>) + round_up_8(spec.value_size)),
      limit_(spec.max_entries) {
  const uint64_t first = slots_size_ + SpareNodes::count(environment.cpus);
  for (uint64_t n = 0; n < free_nodes(environment.cpus); ++n) give_back(first + n);
}

bool StackMap::is_top(const Top& top) const {
  // Acquire: keeps it behind the loads whose results it validates. Tops do not come back, since their tags
  // count.
  return top_.load(std::memory_order_acquire) == top.word;
}

uint64_t StackMap::node_at(uint64_t height) const {
  // Acquire: pairs with the exchange in finish(); what is written of the node is seen.
  return node_in(slot(height).load(std::memory_order_acquire) ^ slot_of(height));
}

// Puts the top's node into its slot and raises the floor, unless that is done. False: the top has changed.
bool StackMap::finish(const Top& top, SpareNodes::Claim& spare) {
  std::atomic<uint64_t>& place = slot(top.height);
  uint64_t before = place.load(std::memory_order_acquire);
  if (!is_top(top)) return false;
  const uint64_t old = node_in(before ^ slot_of(top.height));
  // Release: pairs with node_at(). Acquire: the node that was here becomes ours. No word comes back to a
  // slot, so this succeeds only while nobody has done it, and nobody changes the top before it is done.
  if (old != node_in(top.word) &&
      place.compare_exchange_strong(before, top.word ^ slot_of(top.height), std::memory_order_acq_rel,
                                    std::memory_order_relaxed)) {
    if (spare.node() == SpareNodes::kNone)
      spare.node() = old;
    else
      give_back(old);
  }
  if (top.height <= limit_) return true;
  const uint64_t least = top.height - limit_;
  // Relaxed: the floor is read by those who have finished the same top or a later one, and that they know of
  // it comes to them by the exchange of the top, which is made after this.
  uint64_t floor = floor_.load(std::memory_order_relaxed);
  while (floor < least &&
         !floor_.compare_exchange_weak(floor, least, std::memory_order_relaxed, std::memory_order_relaxed)) {
  }
  return true;
}

StackMap::Top StackMap::finished_top(SpareNodes::Claim& spare) {
  for (;;) {
    // Acquire: pairs with the exchanges of the top; what is written of the node is seen.
    Top top{.word = top_.load(std::memory_order_acquire)};
    // Acquire: a height that was written after the node had left the top shows is_top() the change.
    top.height = height(node_in(top.word)).load(std::memory_order_acquire);
    if (finish(top, spare)) return top;
  }
}

int StackMap::push_node(const void* value, bool overwrite, SpareNodes::Claim& spare) {
  bool written = false;
  for (;;) {
    const Top top = finished_top(spare);
    // Relaxed: see finish(). The floor does not rise while this is the top.
    if (!overwrite && top.height - floor_.load(std::memory_order_relaxed) >= limit_) {
      if (is_top(top)) return -E2BIG;
      continue;
    }
    if (spare.node() == SpareNodes::kNone) spare.node() = take_free();
    if (!written) write_validated(this->value(spare.node()), value, spec().value_size);
    written = true;
    // Release: pairs with the load in finished_top() by those who think that the node is the top still.
    height(spare.node()).store(top.height + 1, std::memory_order_release);
    const Top pushed{.word = next_word(top.word, spare.node()), .height = top.height + 1};
    uint64_t expected = top.word;
    // Release: pairs with finished_top(). Acquire is had already, from reading the same top.
    if (!top_.compare_exchange_strong(expected, pushed.word, std::memory_order_acq_rel,
                                      std::memory_order_relaxed))
      continue;
    spare.node() = SpareNodes::kNone;
    finish(pushed, spare);
    return 0;
  }
}

int StackMap::pop_node(void* value, SpareNodes::Claim& spare) {
  for (;;) {
    const Top top = finished_top(spare);
    if (top.height <= floor_.load(std::memory_order_relaxed)) {
      if (is_top(top)) return empty(value);
      continue;
    }
    read_validated(value, this->value(node_in(top.word)), spec().value_size);
    uint64_t expected = top.word;
    // As in push_node().
    if (top_.compare_exchange_strong(expected, next_word(top.word, node_at(top.height - 1)),
                                     std::memory_order_acq_rel, std::memory_order_relaxed))
      return 0;
  }
}

int StackMap::peek(void* value) {
  for (;;) {
    Top top{.word = top_.load(std::memory_order_acquire)};
    top.height = height(node_in(top.word)).load(std::memory_order_acquire);
    // A top that is not finished is above the floor it will raise. Relaxed: if it is finished, as finish()
    // says.
    const bool is_empty = top.height <= floor_.load(std::memory_order_relaxed);
    if (!is_empty) read_validated(value, this->value(node_in(top.word)), spec().value_size);
    if (is_top(top)) return is_empty ? empty(value) : 0;
  }
}

// Where nodes wait that their finder has no use for.
void StackMap::give_back(uint64_t number) {
  // Relaxed: the node that is named is only linked to.
  uint64_t first = free_.load(std::memory_order_relaxed);
  do {
    height(number).store(node_in(first), std::memory_order_release);
    // Release: pairs with take_free(), which sees the link.
  } while (!free_.compare_exchange_weak(first, next_word(first, number + 1), std::memory_order_release,
                                        std::memory_order_relaxed));
}

uint64_t StackMap::take_free() {
  // Acquire: pairs with give_back().
  uint64_t first = free_.load(std::memory_order_acquire);
  for (;;) {
    // There always is one: see free_nodes(). The tag makes the exchange fail if the link was another node's.
    const uint64_t number = node_in(first) - 1;
    const uint64_t next = height(number).load(std::memory_order_acquire);
    if (free_.compare_exchange_weak(first, next_word(first, next), std::memory_order_acq_rel,
                                    std::memory_order_acquire))
      return number;
  }
}

int StackMap::clear() {
  // Relaxed: nobody else uses the map. With the floor at the top's height nothing is in it.
  SpareNodes::Claim none = SpareNodes::none();
  const Top top = finished_top(none);
  floor_.store(top.height, std::memory_order_relaxed);
  if (none.node() != SpareNodes::kNone) give_back(none.node());
  return 0;
}

}  // namespace skep::maps
