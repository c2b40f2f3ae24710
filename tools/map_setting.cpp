#include "tools/map_setting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

namespace skep::tools {
namespace {

std::optional<uint64_t> parse_number(std::string_view text) {
  const bool hex = text.starts_with("0x");
  if (hex) text.remove_prefix(2);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, hex ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The number as so many bytes, lowest first; nullopt: it does not fit.
std::optional<std::vector<std::byte>> bytes_of(uint64_t number, size_t size) {
  if (size < sizeof number && number >> (size * 8) != 0) return std::nullopt;
  std::vector<std::byte> bytes(size);
  std::memcpy(bytes.data(), &number, std::min(size, sizeof number));
  return bytes;
}

}  // namespace

Result<MapSetting> MapSetting::parse(const std::string& text) {
  const auto bad = [&] {
    return fail(EINVAL, fmt::format("--set {}: not MAP:KEY=VALUE or MAP:KEY=VALUE@PROGRAM", text));
  };
  MapSetting setting;
  setting.text = text;
  const size_t colon = text.find(':');
  const size_t equals = text.find('=', colon == std::string::npos ? 0 : colon);
  if (colon == std::string::npos || colon == 0 || equals == std::string::npos) return bad();
  const size_t at = text.find('@', equals);
  const std::string_view view(text);
  const auto key = parse_number(view.substr(colon + 1, equals - colon - 1));
  const auto value = parse_number(view.substr(equals + 1, at == std::string::npos ? at : at - equals - 1));
  if (!key || !value || at + 1 == text.size()) return bad();
  setting.map = text.substr(0, colon);
  setting.key = *key;
  setting.value = *value;
  if (at != std::string::npos) setting.program = text.substr(at + 1);
  return setting;
}

Result<void> MapSetting::apply(const Object& object) const {
  const auto named = [&](const Error& error) {
    return fail(error.code, fmt::format("--set {}: {}", text, error.message));
  };
  const auto found = object.map(map);
  if (!found) return named(found.error());
  const auto key_bytes = bytes_of(key, found->key_size());
  if (!key_bytes) return named({EINVAL, fmt::format("keys have {} bytes", found->key_size())});
  uint64_t number = value;
  if (!program.empty()) {
    // struct bpf_devmap_val and struct bpf_cpumap_val
    const bool takes_programs = found->type().starts_with("devmap") || found->type() == "cpumap";
    if (!takes_programs || found->value_size() != 2 * sizeof(uint32_t) || value > UINT32_MAX)
      return named({EINVAL, fmt::format("values of map '{}' have no room for a program", map)});
    const auto of_object = object.program(program);
    if (!of_object) return named(of_object.error());
    number |= static_cast<uint64_t>(of_object->descriptor()) << 32;
  }
  const auto value_bytes = bytes_of(number, found->user_value_size());
  if (!value_bytes) return named({EINVAL, fmt::format("values have {} bytes", found->user_value_size())});
  const auto done = found->update(*key_bytes, *value_bytes);
  if (done) return {};
  if (found->type().starts_with("devmap") && done.error().code == EINVAL)
    return named({EINVAL, fmt::format("the program is not for device maps, or there is no device {0}: give "
                                      "--dev {0}=FILE",
                                      value)});
  return named(done.error());
}

}  // namespace skep::tools
