// liburcu's lock-free hash table. A replacement and an insertion allocate a node, and the old one is freed
// after a grace period, as the library's users do it.
#define URCU_INLINE_SMALL_FUNCTIONS 1
#include <urcu.h>
#include <urcu/rculfhash.h>

#include <cstddef>
#include <stdexcept>

#include "bench/anchors/anchor.hpp"

namespace skep::bench {
namespace {

struct Node {
  cds_lfht_node link;
  rcu_head head;
  uint64_t value;
  uint32_t key;
};

Node* node_of(cds_lfht_node* link) {
  return reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(link) - offsetof(Node, link));
}

int has_key(cds_lfht_node* link, const void* key) {
  return node_of(link)->key == *static_cast<const uint32_t*>(key) ? 1 : 0;
}

void free_node(rcu_head* head) {
  delete reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(head) - offsetof(Node, head));
}

class CdsLfht final : public Anchor {
 public:
  explicit CdsLfht(uint32_t entries)
      : table_(cds_lfht_new(entries, entries, entries, 0, nullptr)), entries_(entries) {
    if (table_ == nullptr) throw std::runtime_error("cds_lfht_new failed");
    enter();
    for (uint32_t key = 0; key < entries; ++key) put(key);
    leave();
  }
  CdsLfht(const CdsLfht&) = delete;
  CdsLfht& operator=(const CdsLfht&) = delete;
  ~CdsLfht() override {
    enter();
    for (uint32_t key = 0; key < entries_; ++key) take(key);
    leave();
    rcu_barrier();
    cds_lfht_destroy(table_, nullptr);
  }

  const char* name() const override { return "cds_lfht"; }
  void enter() override { rcu_register_thread(); }
  void leave() override { rcu_unregister_thread(); }

  uint64_t run(AnchorOperation operation, RandomKeys& keys, unsigned operations) override {
    switch (operation) {
      case AnchorOperation::kLookup:
        return count_keys(keys, operations, [this](uint32_t key) { return look_up(key); });
      case AnchorOperation::kReplace:
        return count_keys(keys, operations, [this](uint32_t key) { return put(key); });
      case AnchorOperation::kReinsert:
        return count_keys(keys, operations, [this](uint32_t key) {
          take(key);
          return put(key);
        });
      case AnchorOperation::kLoop:
      case AnchorOperation::kPushPop:
        break;
    }
    return 0;
  }

 private:
  cds_lfht_node* find(uint32_t key) {
    cds_lfht_iter place{};
    cds_lfht_lookup(table_, mix(key), has_key, &key, &place);
    return cds_lfht_iter_get_node(&place);
  }
  bool look_up(uint32_t key) {
    rcu_read_lock();
    cds_lfht_node* const found = find(key);
    const bool right = found != nullptr && node_of(found)->value == key;
    rcu_read_unlock();
    return right;
  }
  bool put(uint32_t key) {
    auto* const node = new Node{{}, {}, key, key};
    cds_lfht_node_init(&node->link);
    rcu_read_lock();
    cds_lfht_node* const old = cds_lfht_add_replace(table_, mix(key), has_key, &key, &node->link);
    if (old != nullptr) call_rcu(&node_of(old)->head, free_node);
    rcu_read_unlock();
    return true;
  }
  void take(uint32_t key) {
    rcu_read_lock();
    cds_lfht_node* const found = find(key);
    if (found != nullptr && cds_lfht_del(table_, found) == 0) call_rcu(&node_of(found)->head, free_node);
    rcu_read_unlock();
  }

  cds_lfht* table_;
  uint32_t entries_;
};

}  // namespace

std::unique_ptr<Anchor> make_cds_lfht(uint32_t entries) { return std::make_unique<CdsLfht>(entries); }

}  // namespace skep::bench
