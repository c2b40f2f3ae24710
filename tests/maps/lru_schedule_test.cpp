#include <string>

#include "maps/lru_impl.hpp"
#include "schedule_world.hpp"

// The same for LRU maps, where elements may go while an operation that may need room is under way.

namespace skep::maps {
namespace {

using SteppedLru = BasicLru<SteppedAtomics>;

template <bool kListPerCpu>
class LruSubject {
 public:
  // One for each CPU, or two for all.
  static constexpr uint32_t kRoom = kListPerCpu ? kThreads : kMaxEntries;
  static constexpr bool kEvicts = true;
  static constexpr uint32_t kPrefix = SteppedLru::kPrefix;

  LruSubject(Pool& pool, Table& table)
      : pool_(pool), table_(table), lru_(pool, table, kThreads, 4, kRoom, kListPerCpu) {}

  template <class Fill>
  int put(uint32_t key, uint64_t flags, unsigned cpu, const Fill& fill) {
    return lru_.put(&key, flags, pool_.cache(cpu), fill, [](Pool::Element*) {});
  }
  Pool::Element* take(uint32_t key, unsigned cpu) { return lru_.take(&key, pool_.cache(cpu)); }
  Pool::Element* find(uint32_t key) {
    Pool::Element* element = table_.find(&key);
    if (element != nullptr) SteppedLru::reference(element);
    return element;
  }
  uint32_t size() const { return lru_.size(); }

 private:
  Pool& pool_;
  Table& table_;
  SteppedLru lru_;
};

using CommonLists = LruSubject<false>;
using ListsOfCpus = LruSubject<true>;

template <class Subject>
class LruSchedule : public testing::Test {};
using Subjects = testing::Types<CommonLists, ListsOfCpus>;
TYPED_TEST_SUITE(LruSchedule, Subjects);

TYPED_TEST(LruSchedule, HistoriesAreLinearizable) {
  EXPECT_EQ(run_seeds(10000, run_by_chance<TypeParam>), "");
}

TYPED_TEST(LruSchedule, PairsAreLinearizable) {
  const Pair pairs[] = {
      {"TwoInsertOneKey", {}, {put(0, 1, BPF_NOEXIST)}, {put(0, 2, BPF_NOEXIST)}},
      {"TwoInsertInAFullMap", {{2, 9}, {3, 8}}, {put(0, 1)}, {put(1, 2)}},
      {"TwoReplaceOneKey", {{0, 8}, {1, 9}}, {put(0, 1)}, {put(0, 2), lookup(0)}},
      {"EvictedAndDeleted", {{0, 8}, {1, 9}}, {put(2, 1)}, {take(0), take(1)}},
      {"EvictedAndReplaced", {{0, 8}, {1, 9}}, {put(2, 1)}, {put(0, 2), lookup(1)}},
      {"EvictedAndPutInAgain", {{0, 8}, {1, 9}}, {put(2, 1), put(0, 2)}, {lookup(0), put(1, 3)}},
      {"AllInOrder", {{0, 8}, {1, 9}}, {put(2, 1), take(2), put(2, 2)}, {put(3, 3), lookup(2)}},
  };
  for (const Pair& pair : pairs) {
    SCOPED_TRACE(pair.name);
    try_all_changes<TypeParam>(pair, 7);
    if (this->HasFatalFailure()) return;
  }
}

TYPED_TEST(LruSchedule, AStoppedThreadStopsNobody) {
  constexpr uint64_t kEnough = 20000;
  for (const Operation& operation :
       {lookup(0), take(0), put(0, 1), put(2, 1), put(2, 1, BPF_NOEXIST), put(0, 1, BPF_NOEXIST)}) {
    stop_everywhere<TypeParam>(operation, {{0, 8}, {1, 9}}, kEnough);
    if (this->HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace skep::maps
