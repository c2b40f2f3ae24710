#include "maps/local_storage.hpp"

#include <atomic>
#include <cerrno>
#include <map>
#include <optional>
#include <thread>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

// Objects behind descriptors that the test makes up.
class TestObjects final : public HostObjects {
 public:
  explicit TestObjects(EpochDomain& epochs) : epochs_(epochs) {}

  HostObject& add(int descriptor, HostKind kind = HostKind::kSocket) {
    auto& object = objects_[descriptor];
    object = std::make_shared<HostObject>(kind, static_cast<uint64_t>(descriptor));
    return *object;
  }
  void end(HostObject& object) {
    object.end();
    const EpochDomain::TaskGuard guard(epochs_);
    for (const auto& observer : observers_)
      if (const auto living = observer.lock()) living->host_object_ended(object);
  }

  Result<std::shared_ptr<HostObject>> at(HostKind kind, int descriptor) override {
    const auto found = objects_.find(descriptor);
    if (found == objects_.end()) return fail(EBADF, "not open");
    if (found->second->kind() != kind) return fail(ENOTSOCK, "another kind");
    return found->second;
  }
  Result<std::shared_ptr<HostObject>> unified_cgroup_at(int descriptor) override {
    return at(HostKind::kCgroup, descriptor);
  }
  void refresh() override {}
  void observe(std::weak_ptr<HostObserver> observer) override { observers_.push_back(std::move(observer)); }

 private:
  EpochDomain& epochs_;
  std::map<int, std::shared_ptr<HostObject>> objects_;
  std::vector<std::weak_ptr<HostObserver>> observers_;
};

class LocalStorage : public MapTest {
 protected:
  LocalStorage() { environment_.host_objects = &objects_; }

  static MapSpec spec(uint32_t type = BPF_MAP_TYPE_SK_STORAGE, uint32_t value_size = 8) {
    MapSpec made = make_spec(type, 4, value_size, 0, BPF_F_NO_PREALLOC);
    made.typed = true;
    return made;
  }
  // { u64 number; lock at 8; u32 at 12 }
  static MapSpec locked_spec() {
    MapSpec made = spec(BPF_MAP_TYPE_SK_STORAGE, 16);
    const ValueField lock{FieldKind::kSpinLock, 8, 4};
    made.fields = ValueFields({&lock, 1});
    return made;
  }
  std::shared_ptr<LocalStorageMap> make(const MapSpec& of = spec()) {
    return std::static_pointer_cast<LocalStorageMap>(create(of));
  }
  int error_of(const MapSpec& of) {
    const auto made = create_map(of, environment_);
    return made ? 0 : made.error().code;
  }
  static std::optional<uint64_t> read(LocalStorageMap& map, int descriptor) {
    uint64_t value = 0;
    return map.read(&descriptor, &value, 0) == 0 ? std::optional(value) : std::nullopt;
  }
  static int write(LocalStorageMap& map, int descriptor, uint64_t value, uint64_t flags = BPF_ANY) {
    return map.write(&descriptor, &value, flags);
  }

  TestObjects objects_{epochs_};
};

TEST_F(LocalStorage, Attributes) {
  for (const uint32_t type : {uint32_t{BPF_MAP_TYPE_SK_STORAGE}, uint32_t{BPF_MAP_TYPE_TASK_STORAGE},
                              uint32_t{BPF_MAP_TYPE_INODE_STORAGE}, kCgroupStorage}) {
    EXPECT_EQ(error_of(spec(type)), 0);
    MapSpec changed = spec(type);
    changed.flags |= BPF_F_CLONE;
    EXPECT_EQ(error_of(changed), 0);
    changed.flags = 0;
    EXPECT_EQ(error_of(changed), EINVAL);
    changed.flags = BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG;
    EXPECT_EQ(error_of(changed), EINVAL);
    changed = spec(type);
    changed.max_entries = 1;
    EXPECT_EQ(error_of(changed), EINVAL);
    changed = spec(type);
    changed.key_size = 8;
    EXPECT_EQ(error_of(changed), EINVAL);
    changed = spec(type);
    changed.typed = false;
    EXPECT_EQ(error_of(changed), EINVAL);
    EXPECT_EQ(error_of(spec(type, 0)), EINVAL);
    EXPECT_EQ(error_of(spec(type, 65407)), 0);
    EXPECT_EQ(error_of(spec(type, 65408)), E2BIG);
  }
}

TEST_F(LocalStorage, ProgramsGetZeroesOrWhatTheyGive) {
  const auto map = make();
  HostObject& one = objects_.add(1);
  HostObject& two = objects_.add(2);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  EXPECT_EQ(map->get(one, nullptr, false, 0), nullptr);
  void* value = map->get(one, nullptr, true, 0);
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(load<uint64_t>(value), 0U);
  const uint64_t initial = 77;
  EXPECT_EQ(map->get(one, &initial, true, 1), value);
  EXPECT_EQ(load<uint64_t>(value), 0U) << "it was there";
  EXPECT_EQ(load<uint64_t>(map->get(two, &initial, true, 0)), 77U);
  EXPECT_EQ(map->size(), 2U);
  EXPECT_EQ(map->remove(one, 0), 0);
  EXPECT_EQ(map->remove(one, 0), -ENOENT);
  EXPECT_EQ(load<uint64_t>(value), 0U) << "until the guard ends";
  EXPECT_EQ(map->get(one, nullptr, false, 0), nullptr);
  EXPECT_FALSE(one.held());
  EXPECT_TRUE(two.held());
}

TEST_F(LocalStorage, MemoryOfAnotherOwnerIsZeroedAgain) {
  const auto map = make(spec(BPF_MAP_TYPE_SK_STORAGE, 24));
  HostObject& one = objects_.add(1);
  for (int turn = 0; turn < 2000; ++turn) {
    const EpochDomain::CpuGuard guard(epochs_, 0);
    auto* value = static_cast<uint64_t*>(map->get(one, nullptr, true, 0));
    ASSERT_EQ(value[0] | value[1] | value[2], 0U);
    value[0] = value[1] = value[2] = ~uint64_t{0};
    map->remove(one, 0);
  }
}

TEST_F(LocalStorage, OwnersOfAnotherKindHaveNone) {
  const auto map = make();
  HostObject& task = objects_.add(1, HostKind::kTask);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  EXPECT_EQ(map->get(task, nullptr, true, 0), nullptr);
  EXPECT_EQ(write(*map, 1, 5), -ENOTSOCK);
}

TEST_F(LocalStorage, UserSpaceGoesByDescriptors) {
  const auto map = make();
  objects_.add(1);
  const EpochDomain::TaskGuard guard(epochs_);
  EXPECT_EQ(read(*map, 1), std::nullopt);
  EXPECT_EQ(write(*map, 1, 5, BPF_EXIST), -ENOENT);
  EXPECT_EQ(write(*map, 1, 5, BPF_NOEXIST), 0);
  EXPECT_EQ(write(*map, 1, 6, BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(read(*map, 1), 5U);
  EXPECT_EQ(write(*map, 1, 6, BPF_EXIST), 0);
  EXPECT_EQ(write(*map, 1, 7), 0);
  EXPECT_EQ(read(*map, 1), 7U);
  EXPECT_EQ(map->size(), 1U);
  EXPECT_EQ(write(*map, 1, 7, 3), -EINVAL);
  EXPECT_EQ(write(*map, 1, 7, BPF_F_LOCK), -EINVAL) << "the value has none";
  int descriptor = 1;
  uint64_t value = 0;
  EXPECT_EQ(map->read(&descriptor, &value, BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&descriptor, &value, 0), -524);
  EXPECT_EQ(map->erase(&descriptor), 0);
  EXPECT_EQ(map->erase(&descriptor), -ENOENT);
  descriptor = 2;
  EXPECT_EQ(map->read(&descriptor, &value, 0), -EBADF);
  EXPECT_EQ(write(*map, 2, 7), -EBADF);
  EXPECT_EQ(map->erase(&descriptor), -EBADF);
}

TEST_F(LocalStorage, ProgramsHaveNothingByKey) {
  const auto map = make();
  objects_.add(1);
  const EpochDomain::TaskGuard guard(epochs_);
  ASSERT_EQ(write(*map, 1, 5), 0);
  const int descriptor = 1;
  const uint64_t value = 6;
  EXPECT_EQ(map->lookup(&descriptor, 0), nullptr);
  EXPECT_EQ(map->update(&descriptor, &value, BPF_ANY, 0), -524);
  EXPECT_EQ(map->erase_on(&descriptor, 0), -524);
  EXPECT_EQ(read(*map, 1), 5U);
}

TEST_F(LocalStorage, AReplacedValueStaysForThoseWhoHaveIt) {
  const auto map = make();
  HostObject& one = objects_.add(1);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const uint64_t initial = 5;
  const void* old = map->get(one, &initial, true, 0);
  for (uint64_t value = 6; value < 1000; ++value) ASSERT_EQ(write(*map, 1, value), 0);
  EXPECT_EQ(load<uint64_t>(old), 5U);
  EXPECT_EQ(load<uint64_t>(map->get(one, nullptr, false, 0)), 999U);
  EXPECT_EQ(map->remove(one, 0), 0);
  EXPECT_FALSE(one.held()) << "one element, one hold";
}

TEST_F(LocalStorage, AnOwnersEndTakesItsElementsFromEveryMap) {
  const auto first = make();
  const auto second = make();
  HostObject& one = objects_.add(1);
  HostObject& two = objects_.add(2);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    for (const auto& map : {first, second})
      for (const int descriptor : {1, 2}) ASSERT_EQ(write(*map, descriptor, 5), 0);
  }
  objects_.end(one);
  EXPECT_FALSE(one.held());
  EXPECT_TRUE(two.held());
  EXPECT_EQ(first->size(), 1U);
  EXPECT_EQ(second->size(), 1U);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  EXPECT_EQ(first->get(one, nullptr, true, 0), nullptr);
  EXPECT_EQ(write(*first, 1, 5), 0);
  EXPECT_EQ(first->size(), 1U) << "what was put in after the end goes at once";
}

TEST_F(LocalStorage, AMapThatGoesLetsGoOfItsOwners) {
  HostObject& one = objects_.add(1);
  HostObject& two = objects_.add(2);
  auto map = make();
  const auto fill = [&] {
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(write(*map, 1, 5), 0);
    ASSERT_EQ(write(*map, 2, 5), 0);
  };
  fill();
  EXPECT_EQ(map->clear(), 0);
  EXPECT_EQ(map->size(), 0U);
  EXPECT_FALSE(one.held() || two.held());
  fill();
  EXPECT_EQ(read(*map, 2), 5U);
  map.reset();
  EXPECT_FALSE(one.held() || two.held());
}

TEST_F(LocalStorage, LocksStayOutOfValues) {
  const auto map = make(locked_spec());
  HostObject& one = objects_.add(1);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  struct Value {
    uint64_t number;
    uint32_t lock;
    uint32_t more;
  };
  const Value initial{1, 0xdead, 2};
  auto* value = static_cast<Value*>(map->get(one, &initial, true, 0));
  EXPECT_EQ(value->lock, 0U);
  EXPECT_EQ(value->more, 2U);
  const int descriptor = 1;
  const Value locked{3, 0xdead, 4};
  EXPECT_EQ(map->write(&descriptor, &locked, BPF_F_LOCK | BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(map->write(&descriptor, &locked, BPF_F_LOCK), 0);
  EXPECT_EQ(value->number, 3U) << "in place";
  EXPECT_EQ(value->lock, 0U);
  EXPECT_EQ(map->write(&descriptor, &initial, BPF_EXIST), 0);
  EXPECT_EQ(value->number, 3U) << "another element";
  Value read{};
  EXPECT_EQ(map->read(&descriptor, &read, BPF_F_LOCK), 0);
  EXPECT_EQ(read.number, 1U);
  EXPECT_EQ(read.lock, 0U);
  EXPECT_EQ(map->erase(&descriptor), 0);
  EXPECT_EQ(map->write(&descriptor, &locked, BPF_F_LOCK | BPF_EXIST), -ENOENT);
  EXPECT_EQ(map->write(&descriptor, &locked, BPF_F_LOCK), 0);
  EXPECT_EQ(map->size(), 1U);
}

TEST_F(LocalStorage, ManyOwners) {
  const auto map = make();
  constexpr int kOwners = 50'000;
  for (int n = 0; n < kOwners; ++n) objects_.add(n);
  const EpochDomain::TaskGuard guard(epochs_);
  for (int n = 0; n < kOwners; ++n) ASSERT_EQ(write(*map, n, static_cast<uint64_t>(n)), 0);
  EXPECT_EQ(map->size(), static_cast<uint32_t>(kOwners));
  for (int n = 0; n < kOwners; ++n) ASSERT_EQ(read(*map, n), static_cast<uint64_t>(n));
}

TEST_F(LocalStorage, AddressesOfValuesAreKnown) {
  const auto map = make();
  HostObject& one = objects_.add(1);
  const EpochDomain::CpuGuard guard(epochs_, 0);
  const auto address = reinterpret_cast<uintptr_t>(map->get(one, nullptr, true, 0));
  const MemoryRange range = map->value_containing(address + 7);
  EXPECT_EQ(range.begin, address);
  EXPECT_EQ(range.size, 8U);
  EXPECT_EQ(map->value_containing(address + 8).size, 0U);
}

// Of CPUs that create the same element one does, and all get it.
TEST_F(LocalStorage, OneElementPerOwnerUnderConcurrency) {
  const auto map = make();
  constexpr int kOwners = 500;
  std::vector<HostObject*> owners;
  for (int n = 0; n < kOwners; ++n) owners.push_back(&objects_.add(n));
  std::vector<std::thread> threads;
  for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
    threads.emplace_back([&, cpu] {
      for (HostObject* owner : owners) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        void* value = map->get(*owner, nullptr, true, cpu);
        ASSERT_NE(value, nullptr);
        __atomic_fetch_add(static_cast<uint64_t*>(value), 1, __ATOMIC_RELAXED);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(map->size(), static_cast<uint32_t>(kOwners));
  for (int n = 0; n < kOwners; ++n) {
    const EpochDomain::TaskGuard guard(epochs_);
    ASSERT_EQ(read(*map, n), uint64_t{kCpus});
  }
}

// Owners end while programs and user space put elements in and out: none is left behind.
TEST_F(LocalStorage, NothingOutlivesItsOwnerUnderConcurrency) {
  const auto map = make();
  constexpr int kOwners = 2000;
  std::vector<HostObject*> owners;
  for (int n = 0; n < kOwners; ++n) owners.push_back(&objects_.add(n));
  std::atomic<int> at{0};
  std::vector<std::thread> threads;
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    threads.emplace_back([&, cpu] {
      for (int n = 0; (n = at.load(std::memory_order_relaxed)) < kOwners;) {
        const EpochDomain::CpuGuard guard(epochs_, cpu);
        HostObject& owner = *owners[static_cast<size_t>(n)];
        if (void* value = map->get(owner, nullptr, true, cpu))
          __atomic_fetch_add(static_cast<uint64_t*>(value), 1, __ATOMIC_RELAXED);
        if (cpu == 0) map->remove(owner, cpu);
      }
    });
  }
  threads.emplace_back([&] {
    for (int n = 0; (n = at.load(std::memory_order_relaxed)) < kOwners;) {
      const EpochDomain::TaskGuard guard(epochs_);
      EXPECT_EQ(write(*map, n, 1), 0);
      read(*map, n);
    }
  });
  for (int n = 0; n < kOwners; ++n) {
    objects_.end(*owners[static_cast<size_t>(n)]);
    at.store(n + 1, std::memory_order_relaxed);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(map->size(), 0U);
  for (const HostObject* owner : owners) ASSERT_FALSE(owner->held());
}

}  // namespace
}  // namespace skep::maps
