#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "maps/epoch.hpp"
#include "maps/mapping.hpp"
#include "maps/target_store.hpp"
#include "maps/touched_slots.hpp"

namespace skep::maps {

// DEVMAP_HASH's table: chains by the low bits of the key, newest element first, as the kernel's.
//
// Guarantees
//  - Lookups are wait-free: one load, then a walk over a chain that never changes. A key that is replaced is
//    seen all the time.
//  - Changes are lock-free, and their count is exact: the table never holds more than max_entries, and is
//    called full only while it is.
// How it works: a chain is an array that is never changed but replaced by a new one. What is to be replaced
// by what stands in `last_`, one change at a time; whoever comes next first carries out that change, if its
// owner has not, and then puts its own there. So while `last_` stays the same, all chains do, and the count
// that stands in the change holds. Changes come from user space alone, so one at a time is enough. Everything
// is called inside an epoch guard: no chain or change is reused while somebody may still compare with its
// address.
class TargetTable {
 public:
  // Check valid() afterwards.
  TargetTable(EpochDomain& epochs, TargetStore& store, uint32_t max_entries);
  TargetTable(const TargetTable&) = delete;
  TargetTable& operator=(const TargetTable&) = delete;
  ~TargetTable();

  bool valid() const {
    // Relaxed: asked before the table is shared.
    return static_cast<bool>(chains_) && touched_.valid() && last_.load(std::memory_order_relaxed) != nullptr;
  }

  // nullptr: no such key.
  const TargetEntry* find(uint32_t key) const;
  // `make` is called once the key is known not to forbid the update; it gives the entry or a negative error
  // number. 0, -EEXIST, -E2BIG, -ENOMEM or what `make` said.
  using Maker = std::function<int(std::unique_ptr<TargetEntry>& made)>;
  int put(uint32_t key, bool only_new, const Maker& make);
  int erase(uint32_t key);
  // The key after one, or the first if there is no such key; -ENOENT: it was the last.
  int next(const uint32_t* key, uint32_t& following) const;
  std::vector<const RedirectTarget*> all() const;
  // Costs by the chains ever used.
  void clear();

 private:
  struct Chain final : EpochDomain::Retired {
    std::unique_ptr<TargetEntry*[]> entries;
    uint32_t count = 0;
  };
  struct Change final : EpochDomain::Retired {
    std::atomic<Chain*>* slot = nullptr;  // nullptr: there was none yet
    Chain* before = nullptr;
    Chain* after = nullptr;
    uint32_t entries = 0;  // in the table when it is carried out
  };

  uint64_t bucket_of(uint32_t key) const { return key & mask_; }
  std::atomic<Chain*>& slot(uint64_t bucket) const {
    return reinterpret_cast<std::atomic<Chain*>*>(chains_.data())[bucket];
  }
  const Chain* chain(uint64_t bucket) const { return slot(bucket).load(std::memory_order_acquire); }
  static TargetEntry* find_in(const Chain* chain, uint32_t key);
  static void carry_out(const Change& change);
  static std::unique_ptr<Chain> copy_without(const Chain* from, const TargetEntry* left_out,
                                             TargetEntry* first);
  bool replace(Change* last, uint64_t bucket, Chain* before, std::unique_ptr<Chain> after, uint32_t entries,
               bool& no_memory);

  EpochDomain& epochs_;
  TargetStore& store_;
  uint32_t max_entries_;
  uint64_t mask_;
  Mapping chains_;
  TouchedSlots touched_;
  std::atomic<Change*> last_{nullptr};
};

}  // namespace skep::maps
