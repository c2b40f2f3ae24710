#include "maps/epoch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace skep::maps {
namespace {

struct Counted : EpochDomain::Retired {
  explicit Counted(int& reclaimed) : reclaimed_(reclaimed) {}
  static void reclaim(Retired* node) { ++static_cast<Counted*>(node)->reclaimed_; }

 private:
  int& reclaimed_;
};

TEST(Epoch, RetiredIsReclaimedWhenTheOnlyGuardEnds) {
  EpochDomain domain(2);
  int reclaimed = 0;
  Counted node(reclaimed);
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    domain.retire(node, Counted::reclaim);
    domain.collect();
    EXPECT_EQ(reclaimed, 0);
    EXPECT_EQ(domain.waiting(), 1U);
  }
  EXPECT_EQ(reclaimed, 1);
  EXPECT_EQ(domain.waiting(), 0U);
}

TEST(Epoch, RetiredWaitsForAnotherCpuThatWasInside) {
  EpochDomain domain(2);
  int reclaimed = 0;
  Counted node(reclaimed);
  auto reader = std::make_unique<EpochDomain::CpuGuard>(domain, 1);
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    domain.retire(node, Counted::reclaim);
  }
  EXPECT_EQ(reclaimed, 0);
  // Other guards come and go; the one that was inside counts.
  for (int i = 0; i < 10; ++i) const EpochDomain::CpuGuard guard(domain, 0);
  EXPECT_EQ(reclaimed, 0);
  reader.reset();
  EXPECT_EQ(reclaimed, 1);
}

TEST(Epoch, RetiredWaitsForATaskThatWasInside) {
  EpochDomain domain(1);
  int reclaimed = 0;
  Counted node(reclaimed);
  auto reader = std::make_unique<EpochDomain::TaskGuard>(domain);
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    domain.retire(node, Counted::reclaim);
  }
  EXPECT_EQ(reclaimed, 0);
  reader.reset();
  EXPECT_EQ(reclaimed, 1);
}

TEST(Epoch, GuardsThatOverlapWithoutEndDoNotHoldUpForEver) {
  EpochDomain domain(2);
  int reclaimed = 0;
  Counted node(reclaimed);
  auto inside = std::make_unique<EpochDomain::TaskGuard>(domain);
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    domain.retire(node, Counted::reclaim);
  }
  // At every moment somebody is inside, but nobody stays.
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(i > 0 || reclaimed == 0);
    auto next = std::make_unique<EpochDomain::TaskGuard>(domain);
    inside = std::move(next);
  }
  EXPECT_EQ(reclaimed, 1);
}

TEST(Epoch, AdvancesAtMostOnceWhileAGuardIsHeld) {
  EpochDomain domain(1);
  const uint64_t before = domain.current();
  const EpochDomain::CpuGuard guard(domain, 0);
  EXPECT_TRUE(domain.try_advance());
  EXPECT_FALSE(domain.try_advance());
  EXPECT_FALSE(domain.try_advance());
  EXPECT_EQ(domain.current(), before + 1);
}

TEST(Epoch, AnyNumberOfTasksIsInsideAtOnce) {
  EpochDomain domain(1);
  std::vector<std::unique_ptr<EpochDomain::TaskGuard>> guards;
  guards.reserve(100);
  for (int i = 0; i < 100; ++i) guards.push_back(std::make_unique<EpochDomain::TaskGuard>(domain));
  EXPECT_TRUE(domain.try_advance());
  // The last of them, in a block of participants made for it, is seen like the first.
  guards.erase(guards.begin(), guards.end() - 1);
  EXPECT_FALSE(domain.try_advance());
  guards.clear();
  EXPECT_TRUE(domain.try_advance());
}

TEST(Epoch, OrderOfReclamationIsTheOrderOfRetirement) {
  struct Numbered : EpochDomain::Retired {
    std::vector<int>* order = nullptr;
    int number = 0;
    static void reclaim(Retired* node) {
      auto* self = static_cast<Numbered*>(node);
      self->order->push_back(self->number);
    }
  };
  EpochDomain domain(1);
  std::vector<int> order;
  Numbered nodes[3];
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    for (int i = 0; i < 3; ++i) {
      nodes[i].order = &order;
      nodes[i].number = i;
      domain.retire(nodes[i], Numbered::reclaim);
    }
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST(Epoch, ReclaimingMayRetireMore) {
  struct Chain : EpochDomain::Retired {
    EpochDomain* domain = nullptr;
    Chain* follower = nullptr;
    bool done = false;
    static void reclaim(Retired* node) {
      auto* self = static_cast<Chain*>(node);
      self->done = true;
      if (self->follower == nullptr) return;
      const EpochDomain::TaskGuard guard(*self->domain);
      self->domain->retire(*self->follower, reclaim);
    }
  };
  EpochDomain domain(1);
  Chain second;
  Chain first;
  first.domain = &domain;
  first.follower = &second;
  {
    const EpochDomain::CpuGuard guard(domain, 0);
    domain.retire(first, Chain::reclaim);
  }
  EXPECT_TRUE(first.done);
  EXPECT_TRUE(second.done);
}

// A cell is replaced by writers and read by CPUs and tasks; a reclaimed node says so in itself, and no reader
// may see that. Under ThreadSanitizer the plain accesses prove the order as well.
TEST(Epoch, ReadersNeverSeeWhatWasReclaimed) {
  struct Node : EpochDomain::Retired {
    int alive = 1;
    static void reclaim(Retired* node) {
      static_cast<Node*>(node)->alive = 0;
      delete static_cast<Node*>(node);
    }
  };
  constexpr int kRounds = 20000;
  EpochDomain domain(2);
  std::atomic<Node*> cell{new Node};
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    threads.emplace_back([&, cpu] {
      for (int i = 0; i < kRounds; ++i) {
        const EpochDomain::CpuGuard guard(domain, cpu);
        if (cell.load(std::memory_order_acquire)->alive != 1) ++wrong;
      }
    });
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        const EpochDomain::TaskGuard guard(domain);
        Node* old = cell.exchange(new Node, std::memory_order_acq_rel);
        if (old->alive != 1) ++wrong;
        domain.retire(*old, Node::reclaim);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  delete cell.load();
}

}  // namespace
}  // namespace skep::maps
