#include <cerrno>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

constexpr int kNotSupported = 524;

class Numbered final : public Object {
 public:
  explicit Numbered(uint32_t id, int* alive = nullptr) : id_(id), alive_(alive) {
    if (alive_ != nullptr) ++*alive_;
  }
  Numbered(const Numbered&) = delete;
  Numbered& operator=(const Numbered&) = delete;
  ~Numbered() override {
    if (alive_ != nullptr) --*alive_;
  }
  uint32_t id() const override { return id_; }

 private:
  uint32_t id_;
  int* alive_;
};

TEST_F(MapTest, ProgArrayHoldsObjects) {
  const auto map = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 3);
  const EpochDomain::TaskGuard guard(epochs_);
  const auto object = std::make_shared<Numbered>(42);
  EXPECT_EQ(map->set_object(1, object), 0);
  EXPECT_EQ(map->set_object(3, object), -E2BIG);
  EXPECT_EQ(map->object_at(1), object);
  EXPECT_EQ(map->peek_object(1), object.get());
  EXPECT_EQ(map->object_at(0), nullptr);
  EXPECT_EQ(map->peek_object(2), nullptr);
  EXPECT_EQ(map->object_at(3), nullptr);
  EXPECT_EQ(map->peek_object(UINT32_MAX), nullptr);

  uint32_t key = 1;
  uint32_t value = 0;
  EXPECT_EQ(map->read(&key, &value, 0), 0);
  EXPECT_EQ(value, 42U);
  EXPECT_EQ(map->read(&key, &value, 1), -EINVAL);
  EXPECT_EQ(map->read_and_erase(&key, &value, 0), -kNotSupported);
  EXPECT_EQ(map->write(&key, &value, 0), -EINVAL);
  EXPECT_EQ(map->lookup(&key, 0), nullptr);
  EXPECT_EQ(map->update(&key, &value, 0, 0), -kNotSupported);
  EXPECT_EQ(map->erase(&key), 0);
  EXPECT_EQ(map->erase(&key), -ENOENT);
  EXPECT_EQ(map->read(&key, &value, 0), -ENOENT);
  key = 3;
  EXPECT_EQ(map->erase(&key), -E2BIG);
  EXPECT_EQ(map->read(&key, &value, 0), -ENOENT);
  EXPECT_EQ(map->next_key(nullptr, &key), 0);
  EXPECT_EQ(key, 0U);
  key = 2;
  EXPECT_EQ(map->next_key(&key, &key), -ENOENT);
  uint32_t count = 3;
  EXPECT_EQ(map->read_batch(nullptr, &key, &key, &value, count, 0, false), -kNotSupported);
}

TEST_F(MapTest, AReplacedObjectLivesUntilGuardsEnd) {
  int alive = 0;
  const auto map = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    map->set_object(0, std::make_shared<Numbered>(1, &alive));
  }
  auto running = std::make_unique<EpochDomain::CpuGuard>(epochs_, 2);
  const Object* seen = map->peek_object(0);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    map->set_object(0, std::make_shared<Numbered>(2, &alive));
  }
  EXPECT_EQ(seen->id(), 1U);
  EXPECT_EQ(alive, 2);
  running.reset();
  EXPECT_EQ(alive, 1);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    map->set_object(0, nullptr);
    map->set_object(0, nullptr);
  }
  EXPECT_EQ(alive, 0);
}

TEST_F(MapTest, ObjectsGoWithTheirMap) {
  int alive = 0;
  auto map = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8);
  auto reader = std::make_unique<EpochDomain::CpuGuard>(epochs_, 2);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    map->set_object(0, std::make_shared<Numbered>(1, &alive));
    map->set_object(0, std::make_shared<Numbered>(2, &alive));
    map->set_object(7, std::make_shared<Numbered>(3, &alive));
  }
  map.reset();
  // What was replaced still waits, without the map.
  EXPECT_EQ(alive, 1);
  reader.reset();
  EXPECT_EQ(alive, 0);
}

// A map may hold the last share in another map, so that reclaiming one destroys the other.
TEST_F(MapTest, ReclaimingAnObjectMayDestroyAMap) {
  class Owner final : public Object {
   public:
    explicit Owner(std::shared_ptr<Map> map) : map_(std::move(map)) {}
    uint32_t id() const override { return 1; }

   private:
    std::shared_ptr<Map> map_;
  };
  int alive = 0;
  const auto outer = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
  {
    auto inner = create(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
    const EpochDomain::TaskGuard guard(epochs_);
    inner->set_object(0, std::make_shared<Numbered>(1, &alive));
    outer->set_object(0, std::make_shared<Owner>(std::move(inner)));
  }
  EXPECT_EQ(alive, 1);
  {
    const EpochDomain::TaskGuard guard(epochs_);
    outer->set_object(0, nullptr);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace skep::maps
