// The tables of the pages that describe HASH, PERCPU_HASH, ARRAY and DEVMAP_HASH, row by row in their order:
// attributes, syscall commands, helper functions, flags. A column per type. Where a page and the kernel
// differ, the row says what the kernel does.

#include <sys/mman.h>

#include <cerrno>
#include <functional>

#include "program_fixture.hpp"
#include "tests/syscall/btf_bytes.hpp"

namespace skep::test {
namespace {

constexpr size_t kTypes = 4;
struct Column {
  uint32_t type;
  const char* name;
  uint32_t value_size;
};
constexpr std::array<Column, kTypes> kColumns{{{BPF_MAP_TYPE_HASH, "HASH", 8},
                                               {BPF_MAP_TYPE_PERCPU_HASH, "PERCPU_HASH", 8},
                                               {BPF_MAP_TYPE_ARRAY, "ARRAY", 8},
                                               {BPF_MAP_TYPE_DEVMAP_HASH, "DEVMAP_HASH", 8}}};

class DocumentedTypes : public ProgramContract {
 protected:
  // Of 4-byte keys, with an element under key 0: a device map's is the loopback device.
  Fd map_with_element(const Column& column) {
    Fd map(create_map(column.type, 4, column.value_size, 4));
    const uint32_t key = 0;
    std::vector<uint64_t> values(bpf_->cpus(), 1);
    EXPECT_EQ(update(map, &key, values.data()), 0) << column.name;
    return map;
  }

  // A batch command with room for 8 elements; for those that write, key 1 alone.
  long batch_of(int command, const Fd& map) {
    const bool writes = command == BPF_MAP_UPDATE_BATCH || command == BPF_MAP_DELETE_BATCH;
    std::vector<uint32_t> keys(8);
    std::vector<uint64_t> values(size_t{8} * bpf_->cpus(), 1);
    std::array<uint32_t, 2> cursor{};
    bpf_attr attributes{};
    attributes.batch.map_fd = map.field();
    attributes.batch.keys = pointer(keys.data());
    attributes.batch.values = pointer(values.data());
    attributes.batch.out_batch = pointer(cursor.data());
    attributes.batch.count = writes ? 1 : 8;
    return call(command, attributes);
  }

  // A program whose second function is what bpf_for_each_map_elem calls.
  long load_for_each(const Fd& map) {
    BtfBytes bytes;
    const uint32_t integer = bytes.integer("int", 4);
    const uint32_t prototype = bytes.type(0, BTF_KIND_FUNC_PROTO, 1, integer, {bytes.string("ctx"), integer});
    const uint32_t entry = bytes.type(bytes.string("entry"), BTF_KIND_FUNC, 0, prototype);
    const uint32_t callback = bytes.type(bytes.string("callback"), BTF_KIND_FUNC, 0, prototype);
    const auto raw = bytes.bytes();
    bpf_attr attributes{};
    attributes.btf = pointer(raw.data());
    attributes.btf_size = static_cast<uint32_t>(raw.size());
    const Fd btf(call(BPF_BTF_LOAD, attributes));
    const auto program =
        code({load_map(1, map),
              {insn(BPF_LD | BPF_DW | BPF_IMM, 2, BPF_PSEUDO_FUNC, 0, 6), insn(0, 0, 0, 0, 0), mov(3, 0),
               mov(4, 0), call_helper(BPF_FUNC_for_each_map_elem), mov(0, 0), exit_insn(), mov(0, 0),
               exit_insn()}});
    std::array<bpf_func_info, 2> functions{{{0, entry}, {9, callback}}};
    attributes = load_attributes(BPF_PROG_TYPE_XDP, program);
    attributes.prog_btf_fd = btf.field();
    attributes.func_info = pointer(functions.data());
    attributes.func_info_cnt = 2;
    attributes.func_info_rec_size = sizeof(bpf_func_info);
    return load(attributes);
  }
  long load_call(const Fd& map, int32_t helper) {
    if (helper == BPF_FUNC_for_each_map_elem) return load_for_each(map);
    auto program = code({store(-8, 0), load_map(1, map)});
    const auto arguments = helper == BPF_FUNC_redirect_map
                               ? std::vector<bpf_insn>{mov(2, 0), mov(3, 0)}
                               : code({stack_address(2, -8), stack_address(3, -8), {mov(4, 0)}});
    program.insert(program.end(), arguments.begin(), arguments.end());
    if (helper == BPF_FUNC_map_lookup_percpu_elem) program.push_back(mov(3, 0));
    program.insert(program.end(), {call_helper(helper), mov(0, 0), exit_insn()});
    return load(BPF_PROG_TYPE_XDP, program);
  }
};
SKEP_CONTRACT(DocumentedTypes);

// --- Attributes

TEST_P(DocumentedTypes, Attributes) {
  struct Row {
    uint32_t type;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t max_entries;
    long result;  // 0: a map
  };
  constexpr uint32_t kKmallocMax = 4 << 20;
  constexpr uint32_t kPerCpuMax = 32 << 10;
  constexpr Row kRows[] = {
      // key_size and value_size of any size (but zero, which the kernel does not admit) …
      {BPF_MAP_TYPE_HASH, 1, 1, 1, 0},
      {BPF_MAP_TYPE_HASH, 13, 7, 100, 0},
      {BPF_MAP_TYPE_HASH, 512, 4096, 1, 0},
      {BPF_MAP_TYPE_HASH, 0, 4, 1, -EINVAL},
      {BPF_MAP_TYPE_HASH, 4, 0, 1, -EINVAL},
      {BPF_MAP_TYPE_HASH, 4, 4, 0, -EINVAL},
      // … up to KMALLOC_MAX_SIZE together.
      {BPF_MAP_TYPE_HASH, 4, kKmallocMax, 1, -E2BIG},
      {BPF_MAP_TYPE_HASH, 4, UINT32_MAX, 1, -E2BIG},
      {BPF_MAP_TYPE_PERCPU_HASH, 1, 1, 1, 0},
      {BPF_MAP_TYPE_PERCPU_HASH, 0, 4, 1, -EINVAL},
      {BPF_MAP_TYPE_PERCPU_HASH, 4, 0, 1, -EINVAL},
      {BPF_MAP_TYPE_PERCPU_HASH, 4, 4, 0, -EINVAL},
      {BPF_MAP_TYPE_PERCPU_HASH, 4, kKmallocMax, 1, -E2BIG},
      // A CPU's value is no larger than the per-CPU allocator gives.
      {BPF_MAP_TYPE_PERCPU_HASH, 4, kPerCpuMax, 1, 0},
      {BPF_MAP_TYPE_PERCPU_HASH, 4, kPerCpuMax + 1, 1, -E2BIG},
      // key_size is 4; value_size "shouldn't exceed KMALLOC_MAX_SIZE": the kernel admits more.
      {BPF_MAP_TYPE_ARRAY, 4, 1, 1, 0},
      {BPF_MAP_TYPE_ARRAY, 4, kKmallocMax, 1, 0},
      {BPF_MAP_TYPE_ARRAY, 4, UINT32_MAX, 1, -E2BIG},
      {BPF_MAP_TYPE_ARRAY, 8, 4, 1, -EINVAL},
      {BPF_MAP_TYPE_ARRAY, 0, 4, 1, -EINVAL},
      {BPF_MAP_TYPE_ARRAY, 4, 0, 1, -EINVAL},
      {BPF_MAP_TYPE_ARRAY, 4, 4, 0, -EINVAL},
      // value_size is 4 or 8; "the key_size can be freely chosen": the kernel admits 4 alone.
      {BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 1, 0},
      {BPF_MAP_TYPE_DEVMAP_HASH, 4, 8, 1, 0},
      {BPF_MAP_TYPE_DEVMAP_HASH, 4, 6, 1, -EINVAL},
      {BPF_MAP_TYPE_DEVMAP_HASH, 4, 16, 1, -EINVAL},
      {BPF_MAP_TYPE_DEVMAP_HASH, 8, 4, 1, -EINVAL},
      {BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 0, -EINVAL},
  };
  for (const Row& row : kRows) {
    const Fd map(create_map(row.type, row.key_size, row.value_size, row.max_entries));
    EXPECT_EQ(std::min(map.get(), 0), row.result)
        << "type " << row.type << " key " << row.key_size << " value " << row.value_size;
  }
}

// --- Syscall commands

TEST_P(DocumentedTypes, Commands) {
  struct Row {
    const char* command;
    std::function<long(const Fd&)> use;
    std::array<long, kTypes> results;
  };
  constexpr long kNo = -kNotSupported;
  const uint32_t key = 0;
  std::vector<uint64_t> values(bpf_->cpus(), 1);
  uint32_t next = 0;
  const Row rows[] = {
      // On the pages.
      {"BPF_MAP_LOOKUP_ELEM", [&](const Fd& map) { return lookup(map, &key, values.data()); }, {0, 0, 0, 0}},
      {"BPF_MAP_LOOKUP_AND_DELETE_ELEM",
       [&](const Fd& map) { return lookup_and_delete(map, &key, values.data()); },
       {0, 0, kNo, kNo}},
      {"BPF_MAP_UPDATE_ELEM", [&](const Fd& map) { return update(map, &key, values.data()); }, {0, 0, 0, 0}},
      {"BPF_MAP_GET_NEXT_KEY", [&](const Fd& map) { return next_key(map, nullptr, &next); }, {0, 0, 0, 0}},
      // Whole tables fit: -ENOENT says that the end has been reached.
      {"BPF_MAP_LOOKUP_BATCH",
       [&](const Fd& map) { return batch_of(BPF_MAP_LOOKUP_BATCH, map); },
       {-ENOENT, -ENOENT, -ENOENT, kNo}},
      {"BPF_MAP_LOOKUP_AND_DELETE_BATCH",
       [&](const Fd& map) { return batch_of(BPF_MAP_LOOKUP_AND_DELETE_BATCH, map); },
       {-ENOENT, -ENOENT, kNo, kNo}},
      {"BPF_MAP_DELETE_ELEM", [&](const Fd& map) { return erase(map, &key); }, {0, 0, -EINVAL, 0}},
      // Not on the pages, but there.
      {"BPF_MAP_UPDATE_BATCH",
       [&](const Fd& map) { return batch_of(BPF_MAP_UPDATE_BATCH, map); },
       {0, 0, 0, kNo}},
      {"BPF_MAP_DELETE_BATCH",
       [&](const Fd& map) { return batch_of(BPF_MAP_DELETE_BATCH, map); },
       {0, 0, kNo, kNo}},
      {"BPF_MAP_FREEZE", [&](const Fd& map) { return freeze(map); }, {0, 0, 0, 0}},
  };
  for (const Row& row : rows)
    for (size_t n = 0; n < kTypes; ++n) {
      const Fd map = map_with_element(kColumns[n]);
      EXPECT_EQ(row.use(map), row.results[n]) << row.command << " on " << kColumns[n].name;
    }
}

// --- Helper functions

TEST_P(DocumentedTypes, Helpers) {
  struct Row {
    const char* helper;
    int32_t id;
    std::array<bool, kTypes> accepted;  // else the load is refused
  };
  constexpr Row kRows[] = {
      {"bpf_for_each_map_elem", BPF_FUNC_for_each_map_elem, {true, true, true, false}},
      {"bpf_map_delete_elem", BPF_FUNC_map_delete_elem, {true, true, true, false}},
      // Of a DEVMAP_HASH, too, says the kernel.
      {"bpf_map_lookup_elem", BPF_FUNC_map_lookup_elem, {true, true, true, true}},
      {"bpf_map_update_elem", BPF_FUNC_map_update_elem, {true, true, true, false}},
      {"bpf_map_lookup_percpu_elem", BPF_FUNC_map_lookup_percpu_elem, {false, true, false, false}},
      {"bpf_redirect_map", BPF_FUNC_redirect_map, {false, false, false, true}},
  };
  for (const Row& row : kRows)
    for (size_t n = 0; n < kTypes; ++n) {
      const Fd map = map_with_element(kColumns[n]);
      const Fd program(load_call(map, row.id));
      EXPECT_EQ(program.get() >= 0, row.accepted[n])
          << row.helper << " on " << kColumns[n].name << ": " << program.get();
    }
}

// --- Flags

TEST_P(DocumentedTypes, Flags) {
  struct Row {
    const char* name;
    uint32_t flag;
    std::array<bool, kTypes> admitted;  // else EINVAL
  };
  constexpr Row kRows[] = {
      {"BPF_F_NO_PREALLOC", BPF_F_NO_PREALLOC, {true, true, false, false}},
      // Of node 0; PERCPU_HASH admits node -1 alone.
      {"BPF_F_NUMA_NODE", BPF_F_NUMA_NODE, {true, false, true, true}},
      {"BPF_F_RDONLY", BPF_F_RDONLY, {true, true, true, true}},
      {"BPF_F_WRONLY", BPF_F_WRONLY, {true, true, true, true}},
      {"BPF_F_ZERO_SEED", BPF_F_ZERO_SEED, {true, true, false, false}},
      {"BPF_F_RDONLY_PROG", BPF_F_RDONLY_PROG, {true, true, true, false}},
      {"BPF_F_WRONLY_PROG", BPF_F_WRONLY_PROG, {true, true, true, false}},
      {"BPF_F_MMAPABLE", BPF_F_MMAPABLE, {false, false, true, false}},
      {"BPF_F_INNER_MAP", BPF_F_INNER_MAP, {false, false, true, false}},
  };
  for (const Row& row : kRows)
    for (size_t n = 0; n < kTypes; ++n) {
      const Fd map(create_map(kColumns[n].type, 4, kColumns[n].value_size, 4, row.flag));
      EXPECT_EQ(std::min(map.get(), 0), row.admitted[n] ? 0 : -EINVAL)
          << row.name << " of " << kColumns[n].name;
    }
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_PERCPU_HASH;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  attributes.map_flags = BPF_F_NUMA_NODE;
  attributes.numa_node = UINT32_MAX;
  EXPECT_GE(Fd(create_map(attributes)).get(), 0);
}

TEST_P(DocumentedTypes, AccessFlagsOfUserSpace) {
  const uint32_t key = 0;
  std::vector<uint64_t> values(bpf_->cpus(), 1);
  std::vector<uint64_t> read(bpf_->cpus());
  for (const Column& column : kColumns) {
    const Fd readable(create_map(column.type, 4, column.value_size, 4, BPF_F_RDONLY));
    EXPECT_EQ(update(readable, &key, values.data()), -EPERM) << column.name;
    EXPECT_NE(lookup(readable, &key, read.data()), -EPERM) << column.name;
    const Fd writable(create_map(column.type, 4, column.value_size, 4, BPF_F_WRONLY));
    EXPECT_EQ(update(writable, &key, values.data()), 0) << column.name;
    EXPECT_EQ(lookup(writable, &key, read.data()), -EPERM) << column.name;
  }
}

TEST_P(DocumentedTypes, PreallocatedOrNotTablesHoldWhatTheyAreAskedTo) {
  std::vector<uint64_t> values(bpf_->cpus(), 1);
  for (const uint32_t type : {uint32_t{BPF_MAP_TYPE_HASH}, uint32_t{BPF_MAP_TYPE_PERCPU_HASH}})
    for (const uint32_t flags : {0U, uint32_t{BPF_F_NO_PREALLOC}}) {
      const Fd map(create_map(type, 4, 8, 3, flags));
      for (uint32_t key = 0; key < 3; ++key) EXPECT_EQ(update(map, &key, values.data()), 0);
      const uint32_t fourth = 3;
      const uint32_t second = 1;
      EXPECT_EQ(update(map, &fourth, values.data()), -E2BIG);
      EXPECT_EQ(update(map, &second, values.data(), BPF_EXIST), 0);
    }
}

// BPF_F_MMAPABLE
TEST_P(DocumentedTypes, MappedArrays) {
  const auto mapped = [](const Fd& map, int protection) {
    void* memory = mmap(nullptr, 4096, protection, MAP_SHARED, map.get(), 0);
    const int error = memory == MAP_FAILED ? errno : 0;
    if (error == 0) munmap(memory, 4096);
    return error;
  };
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE));
  EXPECT_EQ(mapped(map, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(freeze(map), 0);
  EXPECT_EQ(mapped(map, PROT_READ | PROT_WRITE), EPERM);
  EXPECT_EQ(mapped(map, PROT_READ), 0);
  const Fd constant(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG));
  // A memory file says EPERM where the kernel's map says EACCES.
  EXPECT_EQ(mapped(constant, PROT_READ | PROT_WRITE), on_host() ? EACCES : EPERM);
  EXPECT_EQ(mapped(constant, PROT_READ), 0);
  // The machine's descriptor is an empty memory file then, which can be mapped.
  const Fd ordinary(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4));
  EXPECT_EQ(mapped(ordinary, PROT_READ), on_host() ? EINVAL : 0);
}

// Global data: an array of one element, whose value a program addresses.
TEST_P(DocumentedTypes, ArraysHoldGlobalData) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 16, 1));
  const uint32_t key = 0;
  const std::array<uint64_t, 2> value{7, 35};
  ASSERT_EQ(update(map, &key, value.data()), 0);
  const std::vector<bpf_insn> program{insn(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_VALUE, 0, map.get()),
                                      insn(0, 0, 0, 0, 8), insn(BPF_LDX | BPF_MEM | BPF_DW, 0, 1, 0, 0),
                                      exit_insn()};
  EXPECT_EQ(run(program), 35);
}

}  // namespace
}  // namespace skep::test
