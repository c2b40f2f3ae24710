// Which keys of an LRU map survive is documented nowhere, but programs depend on it. Here the same commands
// are given to the host's kernel, from a thread that stays on one CPU, and to a machine with as many CPUs:
// the answers have to be the same, and the same keys have to be left.

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <ostream>

#include "program_fixture.hpp"

namespace skep::test {
namespace {

// A thread that stays where it is.
class OnOneCpu {
 public:
  OnOneCpu() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
  OnOneCpu(const OnOneCpu&) = delete;
  OnOneCpu& operator=(const OnOneCpu&) = delete;
  ~OnOneCpu() { sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_{};
};

// What is done to a map of so many entries, per CPU where the lists are.
struct History {
  const char* name;
  uint32_t entries;
  uint32_t keys;     // different ones
  uint32_t lookups;  // by a program, of 16 operations
  uint32_t deletions;
  uint32_t operations;
  friend void PrintTo(const History& history, std::ostream* out) { *out << history.name; }
};

struct Shape {
  const char* name;
  uint32_t type;
  uint32_t flags;
  friend void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }
};

// One of the two sides with a map, and a program that looks up in it the key which an array has.
class Subject {
 public:
  Subject(Bpf& bpf, const Shape& shape, uint32_t entries) : bpf_(bpf), values_(bpf.cpus()) {
    map_ = Fd(create(shape.type, 8, 8, entries, shape.flags));
    array_ = Fd(create(BPF_MAP_TYPE_ARRAY, 4, 8, 1, 0));
    const std::array program{insn(BPF_LD | BPF_DW | BPF_IMM, 2, BPF_PSEUDO_MAP_VALUE, 0, array_.get()),
                             insn(0, 0, 0, 0, 0),
                             insn(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map_.get()),
                             insn(0, 0, 0, 0, 0),
                             call_helper(BPF_FUNC_map_lookup_elem),
                             insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1, 0),
                             mov(0, 1),
                             exit_insn()};
    bpf_attr attributes{};
    attributes.prog_type = BPF_PROG_TYPE_SCHED_CLS;
    attributes.insns = pointer(program.data());
    attributes.insn_cnt = static_cast<uint32_t>(program.size());
    attributes.license = pointer("GPL");
    program_ = Fd(call(BPF_PROG_LOAD, attributes));
  }

  bool ready() const { return map_.get() >= 0 && array_.get() >= 0 && program_.get() >= 0; }

  long put(uint64_t key, uint64_t flags) {
    std::ranges::fill(values_, key);
    return element(BPF_MAP_UPDATE_ELEM, map_, &key, values_.data(), flags);
  }
  long erase(uint64_t key) { return element(BPF_MAP_DELETE_ELEM, map_, &key, nullptr, 0); }
  long read(uint64_t key) { return element(BPF_MAP_LOOKUP_ELEM, map_, &key, values_.data(), 0); }
  // By a program: 1 if the key is there.
  long reference(uint64_t key) {
    const uint32_t zero = 0;
    if (const long wrong = element(BPF_MAP_UPDATE_ELEM, array_, &zero, &key, BPF_ANY)) return wrong;
    std::array<uint8_t, 64> packet{};
    bpf_attr attributes{};
    attributes.test.prog_fd = program_.field();
    attributes.test.data_in = pointer(packet.data());
    attributes.test.data_size_in = packet.size();
    const long result = call(BPF_PROG_TEST_RUN, attributes);
    return result == 0 ? attributes.test.retval : result;
  }
  std::vector<uint64_t> keys() {
    std::vector<uint64_t> all;
    uint64_t key = 0;
    bpf_attr attributes{};
    attributes.map_fd = map_.field();
    attributes.next_key = pointer(&key);
    while (call(BPF_MAP_GET_NEXT_KEY, attributes) == 0) {
      all.push_back(key);
      attributes.key = pointer(&all.back());
    }
    std::ranges::sort(all);
    return all;
  }

 private:
  long call(int command, bpf_attr& attributes) { return bpf_.call(command, &attributes, sizeof attributes); }
  long create(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags) {
    bpf_attr attributes{};
    attributes.map_type = type;
    attributes.key_size = key;
    attributes.value_size = value;
    attributes.max_entries = entries;
    attributes.map_flags = flags;
    return call(BPF_MAP_CREATE, attributes);
  }
  long element(int command, const Fd& map, const void* key, const void* value, uint64_t flags) {
    bpf_attr attributes{};
    attributes.map_fd = map.field();
    attributes.key = pointer(key);
    attributes.value = pointer(value);
    attributes.flags = flags;
    return call(command, attributes);
  }

  Bpf& bpf_;
  std::vector<uint64_t> values_;
  Fd map_;
  Fd array_;
  Fd program_;
};

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint32_t below(uint32_t bound) {
    state_ = state_ * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return static_cast<uint32_t>(state_ >> 33) % bound;
  }

 private:
  uint64_t state_;
};

long perform(Subject& subject, Numbers& numbers, const History& history) {
  const uint32_t key = numbers.below(history.keys);
  const uint32_t what = numbers.below(16);
  const uint64_t flags = std::array<uint64_t, 4>{BPF_ANY, BPF_ANY, BPF_NOEXIST, BPF_EXIST}[numbers.below(4)];
  if (what < history.lookups) return subject.reference(key);
  if (what < history.lookups + history.deletions) return subject.erase(key);
  if (what == 15) return subject.read(key);
  return subject.put(key, flags);
}

class LruSurvivors : public testing::TestWithParam<std::tuple<Shape, History>> {};
INSTANTIATE_TEST_SUITE_P(
    Maps, LruSurvivors,
    testing::Combine(
        testing::Values(Shape{"Hash", BPF_MAP_TYPE_LRU_HASH, 0},
                        Shape{"PerCpuHash", BPF_MAP_TYPE_LRU_PERCPU_HASH, 0},
                        Shape{"HashWithLists", BPF_MAP_TYPE_LRU_HASH, BPF_F_NO_COMMON_LRU},
                        Shape{"PerCpuHashWithLists", BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_F_NO_COMMON_LRU}),
        testing::Values(History{"OneEntry", 1, 3, 4, 2, 2000}, History{"TwoEntries", 2, 4, 5, 2, 3000},
                        History{"FewEntries", 7, 12, 6, 2, 5000}, History{"ManyMisses", 40, 400, 4, 1, 6000},
                        History{"ManyHits", 300, 360, 8, 1, 10000},
                        History{"WholeBatches", 1000, 3000, 4, 2, 30000},
                        History{"InsertionsOnly", 700, 100000, 0, 0, 10000},
                        History{"UpdatesOnly", 1500, 1400, 0, 0, 20000})),
    [](const auto& info) {
      return std::string(std::get<0>(info.param).name) + "_" + std::get<1>(info.param).name;
    });

TEST_P(LruSurvivors, AreTheKernels) {
  std::string why_not;
  const auto host = host_bpf(why_not);
  if (!host) GTEST_SKIP() << why_not;
  const OnOneCpu stay;
  const auto& [shape, history] = GetParam();
  const auto machine = make_machine(host->cpus());
  const auto ours = machine_bpf(*machine);
  const bool lists = (shape.flags & BPF_F_NO_COMMON_LRU) != 0;
  const uint32_t entries = lists ? history.entries * host->cpus() : history.entries;
  Subject left(*ours, shape, entries);
  Subject right(*host, shape, entries);
  ASSERT_TRUE(left.ready() && right.ready());
  Numbers first(history.entries);
  Numbers second(history.entries);
  for (uint32_t n = 0; n < history.operations; ++n) {
    ASSERT_EQ(perform(left, first, history), perform(right, second, history)) << "operation " << n;
    if (n % 256 == 0) {
      ASSERT_EQ(left.keys(), right.keys()) << "operation " << n;
    }
  }
  EXPECT_EQ(left.keys(), right.keys());
}

}  // namespace
}  // namespace skep::test
