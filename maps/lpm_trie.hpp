#pragma once

#include <atomic>
#include <vector>

#include "maps/element_pool.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_LPM_TRIE: the value of the longest prefix that a key begins with. Semantics:
// kernel/bpf/lpm_trie.c.
//
// Prefixes of 16 bits and more are in one of 65536 tries, by their first 16 bits; shorter ones are in a trie
// of their own. A lookup looks into the one trie and, if nothing matches there, into the other. Nodes are
// never changed once they can be reached: an update or deletion copies the path from the root to where it
// changes something and replaces the root, so a lookup sees each trie as it was at one moment. Lookups are
// wait-free, updates and deletions lock-free. An update makes a new element, as the kernel's; whoever has
// found the old one keeps it until its guard ends.
class LpmTrie final : public Map {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  LpmTrie(const MapSpec& spec, const MapEnvironment& environment, Mapping roots);

  void* lookup(const void* key, unsigned cpu) override;
  LookupFunction lookup_function() const override;
  int update(const void* key, const void* value, uint64_t flags, unsigned cpu) override;
  int erase(const void* key) override;
  int erase_on(const void* key, unsigned cpu) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  BatchCommands batch_commands() const override { return {.lookup = true, .update = true, .erase = true}; }
  int read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                 bool erase_read) override;
  MemoryRange value_containing(uintptr_t address) const override;
  int clear() override;

 private:
  static constexpr uint32_t kTableBits = 16;
  static constexpr uint32_t kTableSize = 1U << kTableBits;

  // A prefix, followed by its data: an element's, or one where two others part.
  struct Node {
    Element* entry;  // nullptr: no element, and two children
    const Node* children[2];
    uint32_t length;
    Element* storage;  // of the node itself

    const std::byte* data() const { return reinterpret_cast<const std::byte*>(this + 1); }
  };
  struct Prefix {
    uint32_t length = 0;
    const std::byte* data = nullptr;

    unsigned bit(uint32_t index) const {
      return static_cast<unsigned>(data[index / 8] >> (7 - index % 8)) & 1U;
    }
  };
  using Root = std::atomic<const Node*>;
  // Where elements come from and go to.
  struct Caches {
    ElementPool::Cache& entries;
    ElementPool::Cache& nodes;
  };
  struct TaskCaches;
  struct Path;
  struct Change;

  static Prefix prefix_of(const void* key);
  static Prefix prefix_of(const Node& node) { return {node.length, node.data()}; }
  uint32_t matching(const Prefix& a, const Prefix& b) const;
  bool fits(const Prefix& prefix) const { return prefix.length <= max_length_; }

  Root& table(uint32_t index) const { return reinterpret_cast<Root*>(roots_.data())[index]; }
  // Of prefixes too short for the table: the last root.
  Root& short_root() const { return table(kTableSize); }
  static uint32_t table_index(const Prefix& prefix) {
    return static_cast<uint32_t>(prefix.data[0]) << 8 | static_cast<uint32_t>(prefix.data[1]);
  }
  bool is_long(const Prefix& prefix) const {
    return prefix.length >= kTableBits && max_length_ >= kTableBits;
  }
  Root& root_of(const Prefix& prefix) const {
    return is_long(prefix) ? table(table_index(prefix)) : short_root();
  }

  Element* longest(const Node* root, const Prefix& key) const;
  Element* find(const void* key) const;
  const Node* find_exact(const Prefix& prefix) const;
  const Node* first_of(const Node* node) const;
  const Node* successor(const Node* node, const Prefix& prefix) const;
  const Node* first_from(uint32_t table_index) const;
  const Node* next_of(const Prefix& prefix) const;

  Caches caches_of(unsigned cpu) { return {entries_.cache(cpu), nodes_.cache(cpu)}; }

  int put_value(const void* key, const void* value, uint64_t flags, const Caches& caches);
  int put(const Prefix& prefix, Element* entry, uint64_t flags, const Caches& caches);
  int take(const void* key, const Caches& caches);
  const Node* make_node(Change& change, const Prefix& prefix, Element* entry, const Node* zero,
                        const Node* one);
  const Node* grown(Change& change, const Node* at, const Prefix& prefix, Element* entry);
  const Node* copy_path(Change& change, const Node* bottom);
  void descend(Path& path, const Prefix& prefix) const;
  bool commit(Change& change, const Node* root);
  void abandon(Change& change);
  bool reserve_place();

  ElementPool entries_;
  ElementPool nodes_;
  Mapping roots_;
  uint32_t data_size_;
  uint32_t max_length_;
  std::vector<std::atomic<uint64_t>> used_;  // which roots of the table may be there: a bit each
  std::atomic<uint32_t> count_{0};
};

}  // namespace skep::maps
