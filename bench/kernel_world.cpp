#include "bench/kernel_world.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>

// libbpf's calls go to the kernel here: skep's copy of it serves a machine only while it is loading.

namespace skep::bench {
namespace {

bool has_program(std::span<const OperationRow> rows, std::string_view name) {
  return std::ranges::any_of(rows, [name](const OperationRow& row) {
    return name == row.program || (row.loop != nullptr && name == row.loop);
  });
}

bool has_map(std::span<const OperationRow> rows, std::string_view name) {
  return std::ranges::any_of(rows, [name](const OperationRow& row) { return name == row.map; });
}

// Values as user space writes them.
size_t value_size(const bpf_map* map) {
  const bpf_map_type type = bpf_map__type(map);
  const bool per_cpu = type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH;
  return bpf_map__value_size(map) * (per_cpu ? static_cast<size_t>(libbpf_num_possible_cpus()) : 1);
}

}  // namespace

KernelLane::Run KernelLane::run(unsigned runs) const {
  ring_.drain();
  std::array<std::byte, 64> packet{};
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = packet.data();
  options.data_size_in = packet.size();
  options.repeat = static_cast<int>(runs);
  if (bpf_prog_test_run_opts(program_, &options) != 0)
    throw std::runtime_error(fmt::format("BPF_PROG_TEST_RUN: {}", std::strerror(errno)));
  return {options.retval, options.duration};
}

KernelWorld::KernelWorld(uint32_t entries, std::span<const OperationRow> rows) : entries_(entries) {
  for (const OperationRow& row : rows) open(object_of(row), rows);
}

void KernelWorld::Closer::operator()(bpf_object* object) const { bpf_object__close(object); }

void KernelWorld::open(const char* name, std::span<const OperationRow> rows) {
  if (objects_.contains(name) || refusals_.contains(name)) return;
  libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
  const std::string path = fmt::format("{}/{}.{}.bpf.o", SKEP_BPF_DIR, name, entries_);
  std::unique_ptr<bpf_object, Closer> object(bpf_object__open_file(path.c_str(), nullptr));
  if (!object) throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object.get())
      bpf_program__set_autoload(program, has_program(rows, bpf_program__name(program)));
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object.get()) if (!bpf_map__is_internal(map))
      bpf_map__set_autocreate(map, has_map(rows, bpf_map__name(map)));
  if (const int error = bpf_object__load(object.get()); error != 0)
    refusals_.emplace(name, std::strerror(-error));
  else
    objects_.emplace(name, std::move(object));
}

int KernelWorld::map_descriptor(const OperationRow& row) const {
  return bpf_object__find_map_fd_by_name(objects_.at(object_of(row)).get(), row.map);
}

void KernelWorld::fill(const OperationRow& row) {
  if (std::ranges::find(filled_, row.map) != filled_.end()) return;
  filled_.emplace_back(row.map);
  const MapRow& filling = map_row(row.map);
  const uint32_t elements = elements_of(filling, entries_);
  if (elements == 0) return;
  const bpf_map* map = bpf_object__find_map_by_name(objects_.at(filling.object).get(), row.map);
  const size_t key_size = bpf_map__key_size(map);
  const size_t size = value_size(map);
  constexpr uint32_t kBatch = 65536;
  std::vector<std::byte> keys(key_size * kBatch);
  std::vector<std::byte> values(size * kBatch);
  for (uint32_t begin = 0; begin < elements; begin += kBatch) {
    uint32_t count = std::min(kBatch, elements - begin);
    for (uint32_t n = 0; n < count; ++n) {
      make_key(filling.keys, begin + n, std::span(keys).subspan(n * key_size, key_size));
      const uint64_t number = begin + n;
      for (size_t at = 0; at < size; at += sizeof number)
        std::memcpy(values.data() + n * size + at, &number, sizeof number);
    }
    if (bpf_map_update_batch(bpf_map__fd(map), keys.data(), values.data(), &count, nullptr) != 0)
      throw std::runtime_error(fmt::format("filling the kernel's {}: {}", row.map, std::strerror(errno)));
  }
}

KernelLane KernelWorld::lane(const OperationRow& row, const char* program) const {
  const bpf_object* object = objects_.at(object_of(row)).get();
  const bpf_map* map = bpf_object__find_map_by_name(object, row.map);
  RingDrain ring;
  if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF) ring = RingDrain(bpf_map__fd(map));
  const int descriptor = bpf_program__fd(bpf_object__find_program_by_name(object, program));
  if (descriptor < 0) throw std::logic_error(fmt::format("{} was not loaded into the kernel", program));
  return {descriptor, std::move(ring)};
}

uint64_t KernelWorld::map_bytes(const OperationRow& row) const {
  std::ifstream file(fmt::format("/proc/self/fdinfo/{}", map_descriptor(row)));
  for (std::string word; file >> word;) {
    uint64_t bytes = 0;
    if (word == "memlock:" && file >> bytes) return bytes;
  }
  return 0;
}

}  // namespace skep::bench
