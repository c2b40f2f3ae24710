#include "bench/map_world.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace skep::bench {
namespace {

constexpr size_t kPage = 4096;

template <class T>
T checked(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

uint64_t run_once(Runner& runner) {
  const RunOutcome outcome = runner.run_in_place({});
  if (outcome.faulted) throw std::runtime_error(runner.fault()->message);
  return outcome.return_value;
}

}  // namespace

// The consumer's page and behind it the producer's, which user space may only read.
RingDrain::RingDrain(int descriptor) {
  void* const pages = mmap(nullptr, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::runtime_error("no addresses for a ring buffer's pages");
  pages_ = static_cast<std::byte*>(pages);
  if (mmap(pages_, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED ||
      mmap(pages_ + kPage, kPage, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, kPage) == MAP_FAILED)
    throw std::runtime_error(fmt::format("mmap of a ring buffer: {}", std::strerror(errno)));
}

RingDrain::RingDrain(RingDrain&& other) noexcept : pages_(std::exchange(other.pages_, nullptr)) {}

RingDrain& RingDrain::operator=(RingDrain&& other) noexcept {
  std::swap(pages_, other.pages_);
  return *this;
}

RingDrain::~RingDrain() {
  if (pages_ != nullptr) munmap(pages_, 2 * kPage);
}

// Two threads may do it at once. What the one that was slower stores is in the past, which only makes the
// ring look fuller.
void RingDrain::drain() const {
  if (pages_ == nullptr) return;
  using Position = std::atomic_ref<uint64_t>;
  auto& produced = *reinterpret_cast<uint64_t*>(pages_ + kPage);
  Position(*reinterpret_cast<uint64_t*>(pages_))
      .store(Position(produced).load(std::memory_order_acquire), std::memory_order_release);
}

uint64_t SkepLane::run(unsigned runs) {
  ring_.drain();
  uint64_t done = 0;
  for (unsigned n = 0; n < runs; ++n) done += run_once(runner_);
  return done;
}

MapWorld::MapWorld(uint32_t entries, unsigned cpus)
    : entries_(entries),
      machine_(checked(
          Machine::create({.cpus = cpus, .seed = 1, .engine = Engine::kJit, .mode = Mode::kVerified}))) {
  for (const MapRow& row : map_rows()) open(row.object);
}

void MapWorld::open(const char* name) {
  if (objects_.contains(name) || refusals_.contains(name)) return;
  const std::string path = fmt::format("{}/{}.{}.bpf.o", SKEP_BPF_DIR, name, entries_);
  Object object =
      checked(machine_.open(path, {.type = "raw", .program = {}, .kernel_btf = {}, .name = {}, .also = {}}));
  if (auto loaded = object.load(); loaded)
    objects_.emplace(name, std::move(object));
  else
    refusals_.emplace(name, loaded.error().message.substr(0, loaded.error().message.find('\n')));
}

void MapWorld::fill(const OperationRow& row) {
  if (std::ranges::find(filled_, row.map) != filled_.end()) return;
  filled_.emplace_back(row.map);
  const MapRow& filling = map_row(row.map);
  const Map map = checked(objects_.at(filling.object).map(row.map));
  std::vector<std::byte> key(map.key_size());
  std::vector<std::byte> value(map.user_value_size());
  for (uint32_t n = 0; n < elements_of(filling, entries_); ++n) {
    make_key(filling.keys, n, key);
    const uint64_t number = n;
    for (size_t at = 0; at < value.size(); at += sizeof number)
      std::memcpy(value.data() + at, &number, sizeof number);
    checked(map.update(key, value));
  }
}

Program MapWorld::program(const OperationRow& row, const char* program) const {
  return checked(objects_.at(object_of(row)).program(program));
}

SkepLane MapWorld::lane(const OperationRow& row, const char* program, unsigned cpu) const {
  RingDrain ring;
  if (const Map map = checked(objects_.at(object_of(row)).map(row.map)); map.sends_records())
    ring = RingDrain(map.descriptor());
  return {checked(this->program(row, program).runner(cpu)), std::move(ring)};
}

}  // namespace skep::bench
