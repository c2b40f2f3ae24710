#include "tools/map_dump.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "tools/btf_value.hpp"

namespace skep::tools {
namespace {

using Bytes = std::vector<std::byte>;

struct Element {
  Bytes key;
  Bytes value;  // every CPU's, one after the other, of a per-CPU map
};

bool is_array(const Map& map) { return map.type().find("array") != std::string_view::npos; }

std::vector<Element> elements_of(const Map& map) {
  std::vector<Element> out;
  auto key = map.next_key(std::nullopt);
  while (key) {
    // An element of a program array may be empty, and one of a hash map may go while it is looked at.
    if (auto value = map.lookup(*key)) out.push_back({*key, std::move(*value)});
    key = map.next_key(std::span<const std::byte>(*key));
  }
  if (!is_array(map)) std::ranges::sort(out, {}, &Element::key);
  return out;
}

// One CPU's value of a per-CPU map's element; CPUs' values stand at multiples of 8 bytes.
std::span<const std::byte> value_of_cpu(const Map& map, const Element& element, size_t cpu) {
  const size_t stride = (map.value_size() + 7) / 8 * 8;
  return std::span(element.value).subspan(cpu * stride, map.value_size());
}

size_t cpus_of(const Map& map, const Element& element) {
  return element.value.size() / ((map.value_size() + 7) / 8 * 8);
}

// A value that takes several lines stands under its first.
std::string shown(const Object& object, uint32_t type, std::span<const std::byte> bytes) {
  const std::string text = to_text(object.btf(), type, bytes);
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "        ";
  }
  return out;
}

bool all_zero(const Bytes& bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

nlohmann::ordered_json map_as_json(const Object& object, const Map& map) {
  nlohmann::ordered_json out{{"name", map.name()}, {"type", map.type()}};
  auto& entries = out["entries"] = nlohmann::ordered_json::array();
  for (const Element& element : elements_of(map)) {
    nlohmann::ordered_json entry{{"key", to_json(object.btf(), map.btf_key_type(), element.key)}};
    if (map.per_cpu()) {
      auto& values = entry["values"] = nlohmann::ordered_json::array();
      for (size_t cpu = 0; cpu < cpus_of(map, element); ++cpu)
        values.push_back(to_json(object.btf(), map.btf_value_type(), value_of_cpu(map, element, cpu)));
    } else {
      entry["value"] = to_json(object.btf(), map.btf_value_type(), element.value);
    }
    entries.push_back(std::move(entry));
  }
  return out;
}

std::string map_as_text(const Object& object, const Map& map) {
  const std::vector<Element> elements = elements_of(map);
  std::string out = fmt::format("map {} ({}, {} of {} elements)\n", map.name(), map.type(), elements.size(),
                                map.max_entries());
  size_t zeros = 0;
  for (const Element& element : elements) {
    if (is_array(map) && map.max_entries() > 1 && all_zero(element.value)) {
      ++zeros;
      continue;
    }
    out += fmt::format("  key   {}\n", shown(object, map.btf_key_type(), element.key));
    if (!map.per_cpu()) {
      out += fmt::format("  value {}\n", shown(object, map.btf_value_type(), element.value));
      continue;
    }
    for (size_t cpu = 0; cpu < cpus_of(map, element); ++cpu)
      out += fmt::format("  cpu {} value {}\n", cpu,
                         shown(object, map.btf_value_type(), value_of_cpu(map, element, cpu)));
  }
  if (zeros != 0) out += fmt::format("  ({} elements are all zeros)\n", zeros);
  return out;
}

}  // namespace skep::tools
