#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

// The optimisations, by name. Each can be left out, so that a wrong result can be traced to one of them.
namespace skep::vm {

enum class Pass : uint8_t {
#define SKEP_PASS(name, ...) k##name,
#include "vm/passes.def"
};

struct PassRow {
  Pass pass;
  std::string_view name;  // as options spell it
  std::string_view purpose;
};

inline constexpr auto kPasses = std::to_array<PassRow>({
#define SKEP_PASS(name, text, purpose) {Pass::k##name, text, purpose},
#include "vm/passes.def"
});

constexpr std::optional<Pass> find_pass(std::string_view name) {
  for (const PassRow& row : kPasses)
    if (row.name == name) return row.pass;
  return std::nullopt;
}

// Which passes are on. A value.
class PassSet {
 public:
  static constexpr PassSet all() { return PassSet((uint32_t{1} << kPasses.size()) - 1); }
  static constexpr PassSet none() { return PassSet(0); }
  static constexpr PassSet from_bits(uint32_t bits) { return PassSet(bits & all().bits_); }

  constexpr bool has(Pass pass) const { return (bits_ & bit(pass)) != 0; }
  constexpr PassSet with(Pass pass) const { return PassSet(bits_ | bit(pass)); }
  constexpr PassSet without(Pass pass) const { return PassSet(bits_ & ~bit(pass)); }

  friend constexpr bool operator==(PassSet, PassSet) = default;

 private:
  constexpr explicit PassSet(uint32_t bits) : bits_(bits) {}
  static constexpr uint32_t bit(Pass pass) { return uint32_t{1} << static_cast<unsigned>(pass); }

  uint32_t bits_;
};

}  // namespace skep::vm
