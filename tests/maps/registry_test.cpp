#include <string_view>

#include "map_fixture.hpp"

namespace skep::maps {
namespace {

TEST(Registry, FindsTypesByNumberAndByName) {
  const MapTypeRow* hash = find_map_type(BPF_MAP_TYPE_HASH);
  ASSERT_NE(hash, nullptr);
  EXPECT_EQ(std::string_view(hash->name), "hash");
  EXPECT_FALSE(hash->per_cpu);
  EXPECT_EQ(find_map_type("percpu_array")->type, uint32_t{BPF_MAP_TYPE_PERCPU_ARRAY});
  EXPECT_TRUE(find_map_type("percpu_hash")->per_cpu);
  EXPECT_EQ(find_map_type("prog_array")->value_kind, ValueKind::kProgram);
  EXPECT_EQ(find_map_type("array")->value_kind, ValueKind::kPlain);
  EXPECT_EQ(find_map_type("no such type"), nullptr);
  EXPECT_EQ(find_map_type(uint32_t{BPF_MAP_TYPE_UNSPEC}), nullptr);
  EXPECT_EQ(find_map_type(10000U), nullptr);
}

TEST(Registry, RowsAreDistinct) {
  for (const MapTypeRow& row : map_types()) {
    EXPECT_EQ(find_map_type(row.type), &row);
    EXPECT_EQ(find_map_type(row.name), &row);
  }
}

TEST(Registry, AccessFlagsAreToldApart) {
  const MapSpec open = make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1);
  EXPECT_TRUE(open.user_may_read() && open.user_may_write() && open.program_may_read() &&
              open.program_may_write());
  EXPECT_FALSE(make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_RDONLY).user_may_write());
  EXPECT_FALSE(make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_WRONLY).user_may_read());
  EXPECT_FALSE(make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_RDONLY_PROG).program_may_write());
  EXPECT_FALSE(make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_WRONLY_PROG).program_may_read());
}

TEST_F(MapTest, FreezingIsSeen) {
  const auto map = create(BPF_MAP_TYPE_ARRAY, 4, 4, 1);
  EXPECT_FALSE(map->frozen());
  map->freeze();
  EXPECT_TRUE(map->frozen());
}

}  // namespace
}  // namespace skep::maps
