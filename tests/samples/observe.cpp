#include "tests/samples/observe.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace skep::samples {
namespace {

using nlohmann::json;
using Bytes = std::vector<uint8_t>;

class Fnv1a {
 public:
  void add(std::span<const uint8_t> bytes) {
    for (const uint8_t byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3;
  }
  void add(uint32_t value) {
    std::array<uint8_t, sizeof(value)> bytes{};
    std::memcpy(bytes.data(), &value, sizeof(value));
    add(bytes);
  }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

std::string hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

Result<Object> load(const std::filesystem::path& path) {
  Object object(bpf_object__open_file(path.c_str(), nullptr));
  if (object == nullptr) return fail(errno, fmt::format("cannot open {}", path.string()));
  const int error = bpf_object__load(object.get());
  if (error != 0)
    return fail(-error, fmt::format("cannot load {}: {}", path.string(), std::strerror(-error)));
  return object;
}

// Each CPU's value takes a multiple of eight bytes.
size_t per_cpu_stride(size_t value_size) { return (value_size + 7) / 8 * 8; }

// The sums of 64-bit words over CPUs.
Bytes sum_over_cpus(std::span<const uint8_t> values, size_t value_size) {
  const size_t stride = per_cpu_stride(value_size);
  std::vector<uint64_t> sums(stride / 8);
  for (size_t at = 0; at < values.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, &values[at], 8);
    sums[at % stride / 8] += word;
  }
  Bytes bytes(stride);
  std::memcpy(bytes.data(), sums.data(), stride);
  bytes.resize(value_size);
  return bytes;
}

bool is_per_cpu(bpf_map_type type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

bool is_array(bpf_map_type type) { return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY; }

json observe_map(const bpf_map* map, size_t possible_cpus) {
  const int fd = bpf_map__fd(map);
  const bpf_map_type type = bpf_map__type(map);
  const size_t value_size = bpf_map__value_size(map);
  const size_t cpus = is_per_cpu(type) ? possible_cpus : 1;
  const size_t stride = is_per_cpu(type) ? per_cpu_stride(value_size) : value_size;
  Bytes key(bpf_map__key_size(map));
  Bytes values(stride * cpus);

  json entries = json::object();
  const void* previous = nullptr;
  while (bpf_map_get_next_key(fd, previous, key.data()) == 0) {
    previous = key.data();
    if (bpf_map_lookup_elem(fd, key.data(), values.data()) != 0) continue;
    const Bytes value = is_per_cpu(type) ? sum_over_cpus(values, value_size) : values;
    const bool zero = std::ranges::all_of(value, [](uint8_t byte) { return byte == 0; });
    if (!is_array(type) || !zero) entries[hex(key)] = hex(value);
  }
  return entries;
}

json observe_maps(const bpf_object* object, size_t possible_cpus) {
  json maps = json::object();
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = bpf_map__name(map);
    if (!name.ends_with(".rodata")) maps[name] = observe_map(map, possible_cpus);
  }
  return maps;
}

// Whether the EtherType promises an IP header that is not all there.
bool lacks_ip_header(std::span<const uint8_t> frame) {
  if (frame.size() < 14) return false;
  const int type = frame[12] << 8 | frame[13];
  return (type == 0x0800 && frame.size() < 14 + 20) || (type == 0x86dd && frame.size() < 14 + 40);
}

class Runs {
 public:
  explicit Runs(bool on_socket_buffer) : on_socket_buffer_(on_socket_buffer) {}

  // Returns zero or the error number with which the run was refused.
  int run(int program, const Packet& packet) {
    if (on_socket_buffer_ && lacks_ip_header(packet.bytes)) {
      ++skipped_;
      append("-");
      return 0;
    }
    __sk_buff context{};
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = packet.bytes.data();
    options.data_size_in = static_cast<uint32_t>(packet.bytes.size());
    options.data_out = data_out_.data();
    options.data_size_out = static_cast<uint32_t>(data_out_.size());
    options.repeat = 1;
    if (on_socket_buffer_) {
      options.ctx_in = options.ctx_out = &context;
      options.ctx_size_in = options.ctx_size_out = sizeof(context);
    }
    if (const int error = bpf_prog_test_run_opts(program, &options); error != 0) return -error;
    note_return(options.retval);
    output_.add(options.data_size_out);
    output_.add(std::span(data_out_).first(options.data_size_out));
    for (const uint32_t field : {context.mark, context.priority, context.cb[0]}) context_.add(field);
    return 0;
  }

  json result() const {
    json result = {{"runs", runs_},
                   {"skipped", skipped_},
                   {"verdicts", verdicts_},
                   {"returns", returns_},
                   {"output", output_.text()}};
    if (on_socket_buffer_) result["context"] = context_.text();
    return result;
  }

 private:
  void note_return(uint32_t value) {
    ++runs_;
    ++verdicts_[std::to_string(value)];
    append(std::to_string(value));
  }

  void append(const std::string& text) { returns_ += returns_.empty() ? text : " " + text; }

  bool on_socket_buffer_;
  Bytes data_out_ = Bytes(4096);
  uint64_t runs_ = 0;
  uint64_t skipped_ = 0;
  std::map<std::string, uint64_t> verdicts_;
  std::string returns_;
  Fnv1a output_;
  Fnv1a context_;
};

}  // namespace

Result<std::vector<Packet>> read_packets(const std::filesystem::path& path) {
  Result<tools::PacketReader> reader = tools::PacketReader::open(path);
  if (!reader) return std::unexpected(reader.error());
  std::vector<Packet> packets;
  while (true) {
    Result<std::optional<Packet>> read = reader->next();
    if (!read) return std::unexpected(read.error());
    std::optional<Packet>& packet = *read;
    if (!packet) return packets;
    packets.push_back(std::move(*packet));
  }
}

json describe(const std::vector<Packet>& packets) {
  Fnv1a hash;
  uint64_t bytes = 0;
  for (const Packet& packet : packets) {
    hash.add(static_cast<uint32_t>(packet.bytes.size()));
    hash.add(packet.bytes);
    bytes += packet.bytes.size();
  }
  return {{"packets", packets.size()}, {"bytes", bytes}, {"hash", hash.text()}};
}

Result<json> observe(const std::filesystem::path& object_path, const std::vector<Packet>& packets) {
  const int possible_cpus = libbpf_num_possible_cpus();
  if (possible_cpus < 0) return fail(ENOSYS, "cannot count the CPUs: /sys is not there");
  Result<Object> object = load(object_path);
  if (!object) return std::unexpected(object.error());
  const bpf_program* program = bpf_object__next_program(object->get(), nullptr);
  if (program == nullptr) return fail(ENOENT, fmt::format("{} has no program", object_path.string()));

  Runs runs(bpf_program__type(program) != BPF_PROG_TYPE_XDP);
  for (size_t i = 0; i < packets.size(); ++i) {
    const int error = runs.run(bpf_program__fd(program), packets[i]);
    if (error == 0) continue;
    return fail(error, fmt::format("packet {} was refused: {}", i + 1, std::strerror(error)));
  }
  json result = runs.result();
  result["program"] = bpf_program__name(program);
  result["type"] = libbpf_bpf_prog_type_str(bpf_program__type(program));
  result["maps"] = observe_maps(object->get(), static_cast<size_t>(possible_cpus));
  return result;
}

}  // namespace skep::samples
