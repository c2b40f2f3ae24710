#include "maps/lpm_trie.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/element_pool_impl.hpp"
#include "maps/epoch.hpp"
#include "maps/generic_batch.hpp"
#include "maps/value_copy.hpp"

namespace skep::maps {

namespace {

constexpr uint32_t kPrefixLength = sizeof(uint32_t);  // the key's first field
constexpr uint32_t kMaxData = 256;
// What the kernel's node takes beside data and value.
constexpr uint32_t kKernelNode = 40;

template <class Word>
Word load_big_endian(const std::byte* at) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return std::byteswap(word);
}

}  // namespace

// Those of an operation of user space.
struct LpmTrie::TaskCaches {
  explicit TaskCaches(LpmTrie& trie) : entries(trie.entries_), nodes(trie.nodes_) {}
  operator Caches() { return {entries, nodes}; }

  ElementPool::TaskCache entries;
  ElementPool::TaskCache nodes;
};

// Where a prefix leads in a trie.
struct LpmTrie::Path {
  struct Step {
    const Node* node;
    unsigned bit;
  };
  Root* root = nullptr;
  const Node* before = nullptr;
  std::vector<Step> steps;   // from the root on, all shorter than the prefix
  const Node* at = nullptr;  // where the path ends
  uint32_t matching = 0;     // bits of `at`
};

// An update or deletion under way, and what it made.
struct LpmTrie::Change : Path {
  explicit Change(const Caches& of) : caches(of) {}

  Caches caches;
  std::vector<Element*> made;
  std::vector<Element*> gone;  // nodes
  bool no_memory = false;
};

Result<std::shared_ptr<Map>> LpmTrie::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  if ((spec.flags & BPF_F_NO_PREALLOC) == 0) return fail(EINVAL, "an LPM trie needs BPF_F_NO_PREALLOC");
  const uint32_t unknown = spec.flags & ~(BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | kAccessFlags);
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  if (spec.key_size <= kPrefixLength || spec.key_size > kPrefixLength + kMaxData)
    return fail(EINVAL, fmt::format("key_size is {}, an LPM trie's is 5 to 260", spec.key_size));
  if (spec.value_size == 0 || spec.value_size > kMaxAllocation - kMaxData - kKernelNode)
    return fail(EINVAL, fmt::format("value_size is {}", spec.value_size));
  Mapping roots = Mapping::anonymous((kTableSize + 1) * sizeof(Root));
  if (!roots) return fail(ENOMEM, "there is no memory for the trie");
  return std::make_shared<LpmTrie>(spec, environment, std::move(roots));
}

LpmTrie::LpmTrie(const MapSpec& spec, const MapEnvironment& environment, Mapping roots)
    : Map(spec, environment),
      entries_(environment.epochs->clock(), {spec.key_size, spec.value_size, 0}, 0),
      nodes_(environment.epochs->clock(),
             {0, static_cast<uint32_t>(sizeof(Node)) + spec.key_size - kPrefixLength, 0}, 0),
      roots_(std::move(roots)),
      data_size_(spec.key_size - kPrefixLength),
      max_length_(data_size_ * 8),
      used_(kTableSize / 64) {}

LpmTrie::Prefix LpmTrie::prefix_of(const void* key) {
  Prefix prefix;
  std::memcpy(&prefix.length, key, sizeof prefix.length);
  prefix.data = static_cast<const std::byte*>(key) + kPrefixLength;
  return prefix;
}

// How many leading bits of two prefixes are equal, at most as many as the shorter has.
uint32_t LpmTrie::matching(const Prefix& a, const Prefix& b) const {
  const uint32_t limit = std::min(a.length, b.length);
  uint32_t at = 0;
  // 32 bits at a time: see load_32() of key_hash.hpp.
  for (; at + 4 <= data_size_ && at * 8 < limit; at += 4) {
    const uint32_t difference =
        load_big_endian<uint32_t>(a.data + at) ^ load_big_endian<uint32_t>(b.data + at);
    if (difference != 0) return std::min(limit, at * 8 + static_cast<uint32_t>(std::countl_zero(difference)));
  }
  for (; at < data_size_ && at * 8 < limit; ++at) {
    const auto difference = static_cast<uint8_t>(a.data[at] ^ b.data[at]);
    if (difference != 0) return std::min(limit, at * 8 + static_cast<uint32_t>(std::countl_zero(difference)));
  }
  return limit;
}

// The element of the longest prefix in a trie that the key begins with. Goes down by the key's bits without
// comparing: all nodes on the way are prefixes of the last, so one comparison with that says how far they
// match.
Element* LpmTrie::longest(const Node* root, const Prefix& key) const {
  const Node* last = nullptr;
  for (const Node* node = root; node != nullptr && node->length <= key.length;) {
    last = node;
    if (node->length == max_length_) break;
    node = node->children[key.bit(node->length)];
  }
  if (last == nullptr) return nullptr;
  const uint32_t match = matching(prefix_of(*last), key);
  if (match >= last->length && last->entry != nullptr) return last->entry;
  Element* found = nullptr;
  for (const Node* node = root; node->length <= match; node = node->children[key.bit(node->length)]) {
    if (node->entry != nullptr) found = node->entry;
    if (node == last) break;
  }
  return found;
}

Element* LpmTrie::find(const void* key) const {
  const Prefix prefix = prefix_of(key);
  if (!fits(prefix)) return nullptr;
  // Acquire, both: pair with commit(); all nodes below are seen as they were made.
  if (is_long(prefix)) {
    Element* found = longest(table(table_index(prefix)).load(std::memory_order_acquire), prefix);
    if (found != nullptr) return found;
  }
  return longest(short_root().load(std::memory_order_acquire), prefix);
}

void* LpmTrie::lookup(const void* key, unsigned /*cpu*/) {
  Element* found = find(key);
  return found == nullptr ? nullptr : entries_.value(found);
}

Map::LookupFunction LpmTrie::lookup_function() const {
  return [](Map& map, const void* key, unsigned cpu) noexcept {
    return static_cast<LpmTrie&>(map).LpmTrie::lookup(key, cpu);
  };
}

int LpmTrie::read(const void* key, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  const void* found = lookup(key, 0);
  if (found == nullptr) return -ENOENT;
  copy_value_relaxed(value, found, spec().value_size);
  return 0;
}

int LpmTrie::write(const void* key, const void* value, uint64_t flags) {
  return put_value(key, value, flags, TaskCaches(*this));
}

int LpmTrie::update(const void* key, const void* value, uint64_t flags, unsigned cpu) {
  return put_value(key, value, flags, caches_of(cpu));
}

int LpmTrie::put_value(const void* key, const void* value, uint64_t flags, const Caches& caches) {
  if (flags > BPF_EXIST || !fits(prefix_of(key))) return -EINVAL;
  Element* entry = entries_.acquire(caches.entries);
  if (entry == nullptr) return -ENOMEM;
  std::memcpy(entries_.key(entry), key, spec().key_size);
  copy_value_relaxed(entries_.value(entry), value, spec().value_size);
  const int result = put(prefix_of(entries_.key(entry)), entry, flags, caches);
  if (result != 0) entries_.give_back(caches.entries, entry);
  return result;
}

bool LpmTrie::reserve_place() {
  // Relaxed: a number and no more.
  uint32_t count = count_.load(std::memory_order_relaxed);
  do {
    if (count == spec().max_entries) return false;
  } while (!count_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed));
  return true;
}

void LpmTrie::descend(Path& path, const Prefix& prefix) const {
  path.steps.clear();
  path.root = &root_of(prefix);
  // Acquire: pairs with commit().
  path.before = path.root->load(std::memory_order_acquire);
  path.at = path.before;
  while (path.at != nullptr) {
    path.matching = matching(prefix_of(*path.at), prefix);
    if (path.at->length != path.matching || path.at->length == prefix.length) return;
    path.steps.push_back({path.at, prefix.bit(path.at->length)});
    path.at = path.at->children[path.steps.back().bit];
  }
}

const LpmTrie::Node* LpmTrie::make_node(Change& change, const Prefix& prefix, Element* entry,
                                        const Node* zero, const Node* one) {
  Element* storage = nodes_.acquire(change.caches.nodes);
  if (storage == nullptr) {
    change.no_memory = true;
    return nullptr;
  }
  change.made.push_back(storage);
  Node* node = new (nodes_.value(storage)) Node{entry, {zero, one}, prefix.length, storage};
  std::memcpy(node + 1, prefix.data, data_size_);
  return node;
}

// What stands in the place of `at` with the new element.
const LpmTrie::Node* LpmTrie::grown(Change& change, const Node* at, const Prefix& prefix, Element* entry) {
  if (at == nullptr) return make_node(change, prefix, entry, nullptr, nullptr);
  if (change.matching == at->length) {
    change.gone.push_back(at->storage);
    return make_node(change, prefix, entry, at->children[0], at->children[1]);
  }
  const bool one = prefix_of(*at).bit(change.matching) != 0;
  if (change.matching == prefix.length)
    return make_node(change, prefix, entry, one ? nullptr : at, one ? at : nullptr);
  const Node* leaf = make_node(change, prefix, entry, nullptr, nullptr);
  return make_node(change, {change.matching, at->data()}, nullptr, one ? leaf : at, one ? at : leaf);
}

const LpmTrie::Node* LpmTrie::copy_path(Change& change, const Node* bottom) {
  for (auto step = change.steps.rbegin(); step != change.steps.rend() && !change.no_memory; ++step) {
    const Node* old = step->node;
    change.gone.push_back(old->storage);
    bottom = make_node(change, prefix_of(*old), old->entry, step->bit == 0 ? bottom : old->children[0],
                       step->bit == 0 ? old->children[1] : bottom);
  }
  return bottom;
}

bool LpmTrie::commit(Change& change, const Node* root) {
  if (change.root != &short_root()) {
    const auto index = static_cast<uint32_t>(change.root - &table(0));
    const uint64_t bit = uint64_t{1} << index % 64;
    // Release: pairs with first_from(), which looks only where there is a bit. Set before the root is, so
    // that a root whose update has returned is found.
    if ((used_[index / 64].load(std::memory_order_relaxed) & bit) == 0)
      used_[index / 64].fetch_or(bit, std::memory_order_release);
  }
  // Release: pairs with all loads of roots. The guard we are in keeps the old root from being made again
  // meanwhile.
  if (!change.root->compare_exchange_strong(change.before, root, std::memory_order_acq_rel,
                                            std::memory_order_relaxed))
    return false;
  for (Element* node : change.gone) nodes_.retire(change.caches.nodes, node);
  return true;
}

void LpmTrie::abandon(Change& change) {
  for (Element* node : change.made) nodes_.give_back(change.caches.nodes, node);
  change.made.clear();
  change.gone.clear();
}

int LpmTrie::put(const Prefix& prefix, Element* entry, uint64_t flags, const Caches& caches) {
  Change change(caches);
  for (;;) {
    descend(change, prefix);
    Element* old = nullptr;
    if (change.at != nullptr && change.matching == change.at->length) old = change.at->entry;
    if (old != nullptr && flags == BPF_NOEXIST) return -EEXIST;
    if (old == nullptr && flags == BPF_EXIST) return -ENOENT;
    if (old == nullptr && !reserve_place()) return -ENOSPC;
    const Node* root = copy_path(change, grown(change, change.at, prefix, entry));
    if (!change.no_memory && commit(change, root)) {
      if (old != nullptr) entries_.retire(caches.entries, old);
      return 0;
    }
    abandon(change);
    if (old == nullptr) count_.fetch_sub(1, std::memory_order_relaxed);  // see reserve_place()
    if (change.no_memory) return -ENOMEM;
  }
}

int LpmTrie::erase(const void* key) { return take(key, TaskCaches(*this)); }

int LpmTrie::erase_on(const void* key, unsigned cpu) { return take(key, caches_of(cpu)); }

int LpmTrie::take(const void* key, const Caches& caches) {
  const Prefix prefix = prefix_of(key);
  if (!fits(prefix)) return -EINVAL;
  Change change(caches);
  for (;;) {
    descend(change, prefix);
    const Node* at = change.at;
    if (at == nullptr || at->length != prefix.length || change.matching != prefix.length ||
        at->entry == nullptr)
      return -ENOENT;
    Element* old = at->entry;
    change.gone.push_back(at->storage);
    const Node* rest = at->children[at->children[0] == nullptr ? 1 : 0];
    if (at->children[0] != nullptr && at->children[1] != nullptr) {
      rest = make_node(change, prefix_of(*at), nullptr, at->children[0], at->children[1]);
    } else if (rest == nullptr && !change.steps.empty() && change.steps.back().node->entry == nullptr) {
      // A node where two parted is not needed when one of them goes.
      const auto [parent, bit] = change.steps.back();
      change.steps.pop_back();
      change.gone.push_back(parent->storage);
      rest = parent->children[1 - bit];
    }
    const Node* root = copy_path(change, rest);
    if (!change.no_memory && commit(change, root)) {
      entries_.retire(caches.entries, old);
      count_.fetch_sub(1, std::memory_order_relaxed);  // see reserve_place()
      return 0;
    }
    abandon(change);
    if (change.no_memory) return -ENOMEM;
  }
}

const LpmTrie::Node* LpmTrie::find_exact(const Prefix& prefix) const {
  Path path;
  descend(path, prefix);
  const Node* at = path.at;
  const bool equal = at != nullptr && at->length == prefix.length && path.matching == prefix.length;
  return equal && at->entry != nullptr ? at : nullptr;
}

// The kernel's order is postorder: what is below a prefix comes before it, and 0 before 1.
const LpmTrie::Node* LpmTrie::first_of(const Node* node) const {
  for (;;) {
    const Node* child = node->children[node->children[0] == nullptr ? 1 : 0];
    if (child == nullptr) return node;
    node = child;
  }
}

// The first element in a trie after a prefix, be that there or not; nullptr: none.
const LpmTrie::Node* LpmTrie::successor(const Node* node, const Prefix& prefix) const {
  const Node* after = nullptr;  // the first of the subtree that comes next if nothing below does
  while (node != nullptr) {
    const uint32_t match = matching(prefix_of(*node), prefix);
    if (match < node->length) {
      // Before the prefix if that begins it or is greater, after it otherwise.
      const bool later = match < prefix.length && prefix_of(*node).bit(match) != 0;
      return later ? first_of(node) : after;
    }
    if (node->length == prefix.length) return after;
    if (node->entry != nullptr) after = node;
    const unsigned bit = prefix.bit(node->length);
    if (bit == 0 && node->children[1] != nullptr) after = first_of(node->children[1]);
    node = node->children[bit];
  }
  return after;
}

// The first element of the table's tries from one on.
const LpmTrie::Node* LpmTrie::first_from(uint32_t index) const {
  for (uint32_t word = index / 64; word < kTableSize / 64; ++word) {
    uint64_t bits = used_[word].load(std::memory_order_acquire);
    if (word == index / 64) bits &= ~uint64_t{0} << index % 64;
    for (; bits != 0; bits &= bits - 1) {
      const auto at = word * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      if (const Node* root = table(at).load(std::memory_order_acquire)) return first_of(root);
    }
  }
  return nullptr;
}

const LpmTrie::Node* LpmTrie::next_of(const Prefix& prefix) const {
  const Node* in_table = nullptr;
  if (is_long(prefix)) {
    in_table = successor(table(table_index(prefix)).load(std::memory_order_acquire), prefix);
    if (in_table == nullptr) in_table = first_from(table_index(prefix) + 1);
  } else if (max_length_ >= kTableBits) {
    // Behind all that begins with the prefix.
    const uint32_t below = 0xffffU >> prefix.length;
    in_table = first_from((table_index(prefix) | below) + 1);
  }
  const Node* in_short = successor(short_root().load(std::memory_order_acquire), prefix);
  if (in_table == nullptr || in_short == nullptr) return in_table == nullptr ? in_short : in_table;
  // The one that begins with the other comes first, or the smaller.
  const uint32_t match = matching(prefix_of(*in_short), prefix_of(*in_table));
  if (match == in_short->length) return in_table;
  return prefix_of(*in_short).bit(match) == 0 ? in_short : in_table;
}

int LpmTrie::next_key(const void* key, void* next) {
  const Node* found = nullptr;
  if (key != nullptr && fits(prefix_of(key)) && find_exact(prefix_of(key)) != nullptr) {
    found = next_of(prefix_of(key));
  } else {
    const Node* in_table = first_from(0);
    const Node* root = short_root().load(std::memory_order_acquire);
    const Node* in_short = root == nullptr ? nullptr : first_of(root);
    found = in_table == nullptr ? in_short : in_table;
    if (in_table != nullptr && in_short != nullptr) {
      const uint32_t match = matching(prefix_of(*in_short), prefix_of(*in_table));
      if (match != in_short->length && prefix_of(*in_short).bit(match) == 0) found = in_short;
    }
  }
  if (found == nullptr) return -ENOENT;
  std::memcpy(next, entries_.key(found->entry), spec().key_size);
  return 0;
}

int LpmTrie::read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                        bool erase_read) {
  if (erase_read) return -kNotSupported;
  return read_batch_by_keys(*this, in, out, keys, values, count, flags);
}

MemoryRange LpmTrie::value_containing(uintptr_t address) const { return entries_.value_containing(address); }

int LpmTrie::clear() {
  // Relaxed, all: nobody else uses the map.
  for (uint32_t word = 0; word < kTableSize / 64; ++word)
    for (uint64_t bits = used_[word].exchange(0, std::memory_order_relaxed); bits != 0; bits &= bits - 1)
      table(word * 64 + static_cast<uint32_t>(std::countr_zero(bits)))
          .store(nullptr, std::memory_order_relaxed);
  short_root().store(nullptr, std::memory_order_relaxed);
  const auto forget = [](const Element*) {};
  entries_.clear(forget);
  nodes_.clear(forget);
  count_.store(0, std::memory_order_relaxed);
  return 0;
}

}  // namespace skep::maps
