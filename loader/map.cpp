#include "maps/map.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "loader/object_state.hpp"
#include "syscall/bpf.hpp"

namespace skep {
namespace {

uint64_t pointer(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

}  // namespace

std::string_view Map::type() const { return maps::find_map_type(map_->spec().type)->name; }
uint32_t Map::key_size() const { return map_->spec().key_size; }
uint32_t Map::value_size() const { return map_->spec().value_size; }
uint32_t Map::max_entries() const { return map_->spec().max_entries; }
uint32_t Map::flags() const { return map_->spec().flags; }
bool Map::per_cpu() const { return maps::find_map_type(map_->spec().type)->per_cpu; }
size_t Map::user_value_size() const { return map_->user_value_size(); }

Result<void> Map::command(int number, const void* key, const void* value, uint64_t flags) const {
  union bpf_attr attributes = {};
  attributes.map_fd = static_cast<uint32_t>(descriptor_);
  attributes.key = pointer(key);
  attributes.value = pointer(value);
  attributes.flags = flags;
  const long result = sys::bpf(*object_->machine, number, &attributes, sizeof attributes);
  if (result == 0) return {};
  const int code = static_cast<int>(-result);
  return fail(code, fmt::format("map '{}': {}", name_, std::strerror(code)));
}

Result<void> Map::check_sizes(size_t key, size_t value) const {
  if (key != key_size())
    return fail(EINVAL, fmt::format("map '{}': a key of {} bytes, not {}", name_, key_size(), key));
  if (value != user_value_size())
    return fail(EINVAL,
                fmt::format("map '{}': a value of {} bytes, not {}", name_, user_value_size(), value));
  return {};
}

namespace {

class Taker final : public maps::RecordVisitor {
 public:
  explicit Taker(const std::function<void(const SentRecord&)>& take) : take_(take) {}
  void record(std::span<const std::byte> bytes, unsigned cpu) override {
    take_({.data = bytes, .cpu = number(cpu), .lost = 0});
  }
  void lost(uint64_t records, unsigned cpu) override {
    take_({.data = {}, .cpu = number(cpu), .lost = records});
  }

 private:
  static std::optional<unsigned> number(unsigned cpu) {
    return cpu == maps::kNoCpu ? std::nullopt : std::optional(cpu);
  }
  const std::function<void(const SentRecord&)>& take_;
};

}  // namespace

bool Map::sends_records() const { return map_->ring_buffer() != nullptr || map_->perf_events() != nullptr; }

Result<size_t> Map::consume(const std::function<void(const SentRecord&)>& take) const {
  Taker taker(take);
  const maps::EpochDomain::TaskGuard guard(object_->machine->epochs());
  const long result = map_->consume(taker);
  if (result >= 0) return static_cast<size_t>(result);
  return fail(static_cast<int>(-result), fmt::format("map '{}' cannot be consumed", name_));
}

Result<std::vector<std::byte>> Map::lookup(std::span<const std::byte> key) const {
  std::vector<std::byte> value(user_value_size());
  if (auto sizes = check_sizes(key.size(), value.size()); !sizes) return std::unexpected(sizes.error());
  if (auto done = command(BPF_MAP_LOOKUP_ELEM, key.data(), value.data(), 0); !done)
    return std::unexpected(done.error());
  return value;
}

Result<void> Map::update(std::span<const std::byte> key, std::span<const std::byte> value,
                         uint64_t flags) const {
  if (auto sizes = check_sizes(key.size(), value.size()); !sizes) return sizes;
  return command(BPF_MAP_UPDATE_ELEM, key.data(), value.data(), flags);
}

Result<void> Map::erase(std::span<const std::byte> key) const {
  if (auto sizes = check_sizes(key.size(), user_value_size()); !sizes) return sizes;
  return command(BPF_MAP_DELETE_ELEM, key.data(), nullptr, 0);
}

Result<std::vector<std::byte>> Map::next_key(std::optional<std::span<const std::byte>> key) const {
  if (key)
    if (auto sizes = check_sizes(key->size(), user_value_size()); !sizes)
      return std::unexpected(sizes.error());
  std::vector<std::byte> next(key_size());
  if (auto done = command(BPF_MAP_GET_NEXT_KEY, key ? key->data() : nullptr, next.data(), 0); !done)
    return std::unexpected(done.error());
  return next;
}

}  // namespace skep
