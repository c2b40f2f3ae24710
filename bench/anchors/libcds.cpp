// libcds' MichaelHashMap over IterableKVList with hazard pointers, whose update replaces the node as a hash
// map's does.
#include <cds/container/iterable_kvlist_hp.h>
#include <cds/container/michael_map.h>
#include <cds/gc/hp.h>
#include <cds/init.h>

#include "bench/anchors/anchor.hpp"

namespace skep::bench {
namespace {

struct Hash {
  size_t operator()(uint64_t key) const { return mix(static_cast<uint32_t>(key)); }
};
struct ListTraits : cds::container::iterable_list::traits {
  using less = std::less<uint32_t>;
};
struct MapTraits : cds::container::michael_map::traits {
  using hash = Hash;
};
using Gc = cds::gc::HP;
using List = cds::container::IterableKVList<Gc, uint32_t, uint64_t, ListTraits>;
using Table = cds::container::MichaelHashMap<Gc, List, MapTraits>;

// The library's state, which has to be there before a table is.
class Library {
 public:
  Library() {
    cds::Initialize();
    gc_ = std::make_unique<Gc>();
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    gc_.reset();
    cds::Terminate();
  }

 private:
  std::unique_ptr<Gc> gc_;
};

class Libcds final : public Anchor {
 public:
  explicit Libcds(uint32_t entries) {
    enter();
    table_ = std::make_unique<Table>(entries, 1);
    for (uint32_t key = 0; key < entries; ++key) put(key);
    leave();
  }
  Libcds(const Libcds&) = delete;
  Libcds& operator=(const Libcds&) = delete;
  ~Libcds() override {
    enter();
    table_.reset();
    leave();
  }

  const char* name() const override { return "libcds"; }
  void enter() override { cds::threading::Manager::attachThread(); }
  void leave() override { cds::threading::Manager::detachThread(); }

  uint64_t run(AnchorOperation operation, RandomKeys& keys, unsigned operations) override {
    switch (operation) {
      case AnchorOperation::kLookup:
        return count_keys(keys, operations, [this](uint32_t key) {
          bool right = false;
          table_->find(key, [&](Table::value_type& found) { right = found.second == key; });
          return right;
        });
      case AnchorOperation::kReplace:
        return count_keys(keys, operations, [this](uint32_t key) { return put(key); });
      case AnchorOperation::kReinsert:
        return count_keys(keys, operations, [this](uint32_t key) {
          table_->erase(key);
          return put(key);
        });
      case AnchorOperation::kLoop:
      case AnchorOperation::kPushPop:
        break;
    }
    return 0;
  }

 private:
  // upsert() looks for the bucket of the value, not of the key; here they are the same.
  bool put(uint32_t key) { return table_->upsert(key, uint64_t{key}).first; }

  Library library_;
  std::unique_ptr<Table> table_;
};

}  // namespace

std::unique_ptr<Anchor> make_libcds(uint32_t entries) { return std::make_unique<Libcds>(entries); }

}  // namespace skep::bench
