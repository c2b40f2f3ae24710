// Concurrency Kit's hash table and ring. ck_ht has keys and values in the table itself, so nothing is
// allocated; it is for one writer at a time, so writers take a lock, as its users do.
#include <stdexcept>

#include "bench/anchors/anchor.hpp"
#include "bench/anchors/ck_anchor.h"

namespace skep::bench {
namespace {

class ConcurrencyKit final : public Anchor {
 public:
  explicit ConcurrencyKit(uint32_t entries) : anchor_(ck_anchor_create(entries)) {
    if (anchor_ == nullptr) throw std::runtime_error("ck_ht_init failed");
    for (uint32_t key = 0; key < entries; ++key) put(key);
  }
  ConcurrencyKit(const ConcurrencyKit&) = delete;
  ConcurrencyKit& operator=(const ConcurrencyKit&) = delete;
  ~ConcurrencyKit() override { ck_anchor_destroy(anchor_); }

  const char* name() const override { return "ck"; }
  bool has(AnchorOperation operation) const override { return operation != AnchorOperation::kLoop; }

  uint64_t run(AnchorOperation operation, RandomKeys& keys, unsigned operations) override {
    switch (operation) {
      case AnchorOperation::kLookup:
        return count_keys(keys, operations, [this](uint32_t key) {
          uint64_t value = 0;
          return ck_anchor_get(anchor_, key, mix(key), &value) && value == key;
        });
      case AnchorOperation::kReplace:
        return count_keys(keys, operations, [this](uint32_t key) { return put(key); });
      case AnchorOperation::kReinsert:
        return count_keys(keys, operations, [this](uint32_t key) {
          ck_anchor_remove(anchor_, key, mix(key));
          return put(key);
        });
      case AnchorOperation::kPushPop:
        return count_keys(keys, operations,
                          [this](uint32_t key) { return ck_anchor_push_pop(anchor_, key); });
      case AnchorOperation::kLoop:
        break;
    }
    return 0;
  }

 private:
  bool put(uint32_t key) { return ck_anchor_set(anchor_, key, mix(key), key); }

  ck_anchor* anchor_;
};

}  // namespace

std::unique_ptr<Anchor> make_concurrency_kit(uint32_t entries) {
  return std::make_unique<ConcurrencyKit>(entries);
}

}  // namespace skep::bench
