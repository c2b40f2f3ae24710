#include <sys/mman.h>

#include <cerrno>

#include "program_fixture.hpp"
#include "tests/syscall/btf_bytes.hpp"

namespace skep::test {
namespace {

// The types that values are made of here: struct value { u64 number; …; }.
class ValueTypes {
 public:
  ValueTypes() {
    u32_ = bytes_.integer("unsigned int", 4);
    u64_ = bytes_.integer("unsigned long", 8);
  }

  BtfBytes& bytes() { return bytes_; }
  uint32_t u32() const { return u32_; }
  uint32_t u64() const { return u64_; }

  struct Member {
    const char* name;
    uint32_t type;
    uint32_t offset;  // in bytes
  };
  uint32_t structure(std::string_view name, uint32_t size, const std::vector<Member>& members) {
    // Extra words come as a list, whose length has to be known.
    const uint32_t at = bytes_.string(name);
    std::vector<uint32_t> names;
    for (const Member& member : members) names.push_back(bytes_.string(member.name));
    const auto word = [&](size_t i, size_t field) {
      return field == 0 ? names[i] : field == 1 ? members[i].type : members[i].offset * 8;
    };
    const auto count = static_cast<uint32_t>(members.size());
    switch (count) {
      case 1:
        return bytes_.type(at, BTF_KIND_STRUCT, 1, size, {word(0, 0), word(0, 1), word(0, 2)});
      case 2:
        return bytes_.type(at, BTF_KIND_STRUCT, 2, size,
                           {word(0, 0), word(0, 1), word(0, 2), word(1, 0), word(1, 1), word(1, 2)});
      default:
        return bytes_.type(at, BTF_KIND_STRUCT, 3, size,
                           {word(0, 0), word(0, 1), word(0, 2), word(1, 0), word(1, 1), word(1, 2),
                            word(2, 0), word(2, 1), word(2, 2)});
    }
  }
  uint32_t lock() { return structure("bpf_spin_lock", 4, {{"val", u32_, 0}}); }
  uint32_t timer() {
    const uint32_t words = bytes_.type(0, BTF_KIND_ARRAY, 0, 0, {u64_, u32_, 2});
    return structure("bpf_timer", 16, {{"opaque", words, 0}});
  }
  uint32_t pointer_to_struct(const char* tag) {
    const uint32_t target = structure("local_type", 8, {{"x", u64_, 0}});
    const uint32_t tagged = bytes_.type(bytes_.string(tag), BTF_KIND_TYPE_TAG, 0, target);
    return bytes_.type(0, BTF_KIND_PTR, 0, tagged);
  }

 private:
  BtfBytes bytes_;
  uint32_t u32_ = 0;
  uint32_t u64_ = 0;
};

// { u64 number; struct bpf_spin_lock lock; u32 more; }
struct Locked {
  uint64_t number = 0;
  uint32_t lock = 0;
  uint32_t more = 0;
};

class Fields : public ProgramContract {
 protected:
  long create(ValueTypes& types, uint32_t value, uint32_t value_size, uint32_t map_type, uint32_t flags = 0,
              uint32_t entries = 4) {
    const auto bytes = types.bytes().bytes();
    bpf_attr load{};
    load.btf = pointer(bytes.data());
    load.btf_size = static_cast<uint32_t>(bytes.size());
    const long btf = call(BPF_BTF_LOAD, load);
    if (btf < 0) return btf;
    const Fd close(btf);
    bpf_attr attributes{};
    attributes.map_type = map_type;
    attributes.key_size = 4;
    attributes.value_size = value_size;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    attributes.btf_fd = close.field();
    attributes.btf_key_type_id = types.u32();
    attributes.btf_value_type_id = value;
    return create_map(attributes);
  }
  long locked_map(uint32_t map_type, uint32_t flags = 0) {
    ValueTypes types;
    const uint32_t value =
        types.structure("value", sizeof(Locked),
                        {{"number", types.u64(), 0}, {"lock", types.lock(), 8}, {"more", types.u32(), 12}});
    return create(types, value, sizeof(Locked), map_type, flags);
  }
  long timer_map(uint32_t map_type, uint32_t flags = 0) {
    ValueTypes types;
    const uint32_t value =
        types.structure("value", 24, {{"timer", types.timer(), 0}, {"number", types.u64(), 16}});
    return create(types, value, 24, map_type, flags);
  }
  long pointer_map(uint32_t map_type, const char* tag = "kptr") {
    ValueTypes types;
    const uint32_t value = types.structure(
        "value", 16, {{"pointer", types.pointer_to_struct(tag), 0}, {"number", types.u64(), 8}});
    return create(types, value, 16, map_type);
  }
  // Whether a map was made; it goes at once.
  static long made(long result) {
    if (result < 0) return result;
    const Fd close(result);
    return 0;
  }
};
SKEP_CONTRACT(Fields);

TEST_P(Fields, MapTypesAdmitThem) {
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_HASH)), 0);
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_ARRAY)), 0);
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_PERCPU_HASH)), -EOPNOTSUPP);
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_PERCPU_ARRAY)), -EOPNOTSUPP);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_HASH)), 0);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_ARRAY)), 0);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_PERCPU_HASH)), -EOPNOTSUPP);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_PERCPU_ARRAY)), -EOPNOTSUPP);
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_LRU_HASH)), -EOPNOTSUPP);
  EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_LRU_PERCPU_HASH)), -EOPNOTSUPP);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_LRU_HASH)), 0);
  EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_LRU_PERCPU_HASH)), -EOPNOTSUPP);
  for (const uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_HASH,
                              BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH})
    EXPECT_EQ(made(pointer_map(type)), 0) << type;
}

TEST_P(Fields, ProgramsMustReadAndWriteThem) {
  for (const uint32_t flag : {BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG}) {
    EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_HASH, flag)), -EACCES);
    EXPECT_EQ(made(locked_map(BPF_MAP_TYPE_PERCPU_HASH, flag)), -EACCES);
    EXPECT_EQ(made(timer_map(BPF_MAP_TYPE_ARRAY, flag)), -EACCES);
  }
}

TEST_P(Fields, NoTypeHasTwoLocks) {
  ValueTypes types;
  const uint32_t lock = types.lock();
  const uint32_t value = types.structure("value", 8, {{"a", lock, 0}, {"b", lock, 4}});
  EXPECT_EQ(made(create(types, value, 8, BPF_MAP_TYPE_ARRAY)), -E2BIG) << "BPF_BTF_LOAD says so";
}

// What is wrong with a map's fields leaves a map without any.
TEST_P(Fields, ASecondTimerIsNone) {
  ValueTypes types;
  const uint32_t timer = types.timer();
  const uint32_t value = types.structure("value", 32, {{"a", timer, 0}, {"b", timer, 16}});
  const Fd map(create(types, value, 32, BPF_MAP_TYPE_ARRAY));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 0;
  const std::array<uint64_t, 4> written{1, 2, 3, 4};
  EXPECT_EQ(update(map, &key, written.data(), BPF_F_LOCK), -EINVAL);
  EXPECT_EQ(update(map, &key, written.data()), 0);
  std::array<uint64_t, 4> read{};
  EXPECT_EQ(lookup(map, &key, read.data()), 0);
  EXPECT_EQ(read, written);
  EXPECT_EQ(freeze(map), 0);
}

TEST_P(Fields, UserSpaceSeesZeroes) {
  for (const uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY}) {
    const Fd map(locked_map(type));
    ASSERT_GE(map.get(), 0);
    const uint32_t key = 1;
    const Locked written{7, 0xdeadbeef, 9};
    for (const uint64_t flags : {uint64_t{BPF_ANY}, uint64_t{BPF_F_LOCK}}) {
      ASSERT_EQ(update(map, &key, &written, flags), 0);
      for (const uint64_t read_flags : {uint64_t{0}, uint64_t{BPF_F_LOCK}}) {
        Locked read{1, 1, 1};
        ASSERT_EQ(lookup(map, &key, &read, read_flags), 0) << "the lock is free";
        EXPECT_EQ(read.number, 7U);
        EXPECT_EQ(read.lock, 0U);
        EXPECT_EQ(read.more, 9U);
      }
    }
  }
}

TEST_P(Fields, NestedLocks) {
  ValueTypes types;
  const uint32_t inner = types.structure("inner", 8, {{"x", types.u32(), 0}, {"lock", types.lock(), 4}});
  const uint32_t value = types.structure("value", 16, {{"number", types.u64(), 0}, {"inner", inner, 8}});
  const Fd map(create(types, value, 16, BPF_MAP_TYPE_HASH));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 1;
  const std::array<uint32_t, 4> written{1, 2, 3, 4};
  ASSERT_EQ(update(map, &key, written.data(), BPF_F_LOCK), 0);
  std::array<uint32_t, 4> read{};
  ASSERT_EQ(lookup(map, &key, read.data(), BPF_F_LOCK), 0);
  EXPECT_EQ(read, (std::array<uint32_t, 4>{1, 2, 3, 0}));
}

TEST_P(Fields, FlagsOfUpdatesUnderTheLock) {
  const Fd map(locked_map(BPF_MAP_TYPE_HASH));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 1;
  const Locked value{7, 0, 9};
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK | BPF_EXIST), -ENOENT);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK | BPF_NOEXIST), 0);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK | BPF_NOEXIST), -EEXIST);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK | BPF_EXIST), 0);
  EXPECT_EQ(update(map, &key, &value, BPF_F_LOCK | 8), -EINVAL);
  Locked read;
  EXPECT_EQ(lookup_and_delete(map, &key, &read, BPF_F_LOCK), 0);
  EXPECT_EQ(read.number, 7U);
  EXPECT_EQ(lookup(map, &key, &read, BPF_F_LOCK), -ENOENT);
}

TEST_P(Fields, NoLockNoFlag) {
  for (const long created : {create_map(BPF_MAP_TYPE_HASH, 4, 16, 4), timer_map(BPF_MAP_TYPE_HASH)}) {
    const Fd map(created);
    const uint32_t key = 1;
    std::array<uint64_t, 3> value{};
    EXPECT_EQ(update(map, &key, value.data(), BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup(map, &key, value.data(), BPF_F_LOCK), -EINVAL);
    EXPECT_EQ(lookup_and_delete(map, &key, value.data(), BPF_F_LOCK), -EINVAL);
  }
}

TEST_P(Fields, BatchesUnderTheLock) {
  for (const uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY}) {
    const Fd map(locked_map(type));
    ASSERT_GE(map.get(), 0);
    std::array<uint32_t, 4> keys{0, 1, 2, 3};
    std::array<Locked, 4> values{Locked{1, 5, 1}, Locked{2, 5, 2}, Locked{3, 5, 3}, Locked{4, 5, 4}};
    uint32_t cursor = 0;
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(keys.data());
    attributes.batch.values = pointer(values.data());
    attributes.batch.count = 4;
    attributes.batch.elem_flags = BPF_F_LOCK;
    ASSERT_EQ(call(BPF_MAP_UPDATE_BATCH, attributes), 0);
    values = {};
    attributes.batch.out_batch = pointer(&cursor);
    attributes.batch.count = 8;
    std::array<uint32_t, 8> read_keys{};
    std::array<Locked, 8> read{};
    attributes.batch.keys = pointer(read_keys.data());
    attributes.batch.values = pointer(read.data());
    EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -ENOENT) << "all of them";
    EXPECT_EQ(attributes.batch.count, 4U);
    for (size_t n = 0; n < 4; ++n) {
      EXPECT_EQ(read[n].number, read_keys[n] + 1);
      EXPECT_EQ(read[n].lock, 0U);
    }
    attributes.batch.elem_flags = BPF_F_LOCK | 8;
    EXPECT_EQ(call(BPF_MAP_LOOKUP_BATCH, attributes), -EINVAL);
  }
}

TEST_P(Fields, RefusedOfMapsWithFields) {
  const Fd map(locked_map(BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE));
  ASSERT_GE(map.get(), 0);
  EXPECT_EQ(freeze(map), -kNotSupported);
  void* mapped = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, map.get(), 0);
  EXPECT_EQ(mapped, MAP_FAILED);
  if (mapped != MAP_FAILED) munmap(mapped, 4096);
  const Fd timers(timer_map(BPF_MAP_TYPE_HASH));
  EXPECT_EQ(freeze(timers), -kNotSupported);
}

TEST_P(Fields, PerCpuPointersReadAsZero) {
  const Fd map(pointer_map(BPF_MAP_TYPE_PERCPU_ARRAY));
  ASSERT_GE(map.get(), 0);
  const uint32_t key = 0;
  std::vector<uint64_t> values(size_t{2} * bpf_->cpus());
  for (size_t n = 0; n < values.size(); ++n) values[n] = n + 1;
  ASSERT_EQ(update(map, &key, values.data()), 0);
  std::vector<uint64_t> read(values.size());
  ASSERT_EQ(lookup(map, &key, read.data()), 0);
  for (size_t n = 0; n < values.size(); n += 2) {
    EXPECT_EQ(read[n], 0U);
    EXPECT_EQ(read[n + 1], values[n + 1]);
  }
}

}  // namespace
}  // namespace skep::test
