#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vm/program.hpp"

// Which accesses checked mode has to hold, and which of them go to the same memory.
namespace skep::jit {

// What a load, a store or an atomic operation does to memory; an atomic one writes.
struct Access {
  uint8_t base = 0;
  uint8_t bytes = 0;
  bool write = false;
};
// nullopt: touches no memory, or as a call does, whose callee holds it.
std::optional<Access> access_of(const vm::LoweredInstruction& i);

// A function's native frame keeps a region for accesses that have their pointer from one place.
struct RegionCache {
  uint16_t origin = 0;
  bool write = false;
  uint8_t widths = 0;  // of its accesses; bit n: 1 << n bytes
};

// How an operation's access is held.
struct AccessSite {
  static constexpr uint8_t kNoCache = 0xff;
  uint8_t cache = kNoCache;  // of the function's
  bool context = false;      // most likely the context, a part of it that the program may access
};

// Every frame has its own 512 bytes below r10, which no program can change.
bool is_inside_frame(const vm::LoweredInstruction& i, const Access& access);

// The region caches of a function, and each of its operations' site: sites[n] is code[n]'s.
std::vector<RegionCache> plan_accesses(const vm::Program& program,
                                       std::span<const vm::LoweredInstruction> code,
                                       std::span<AccessSite> sites);

}  // namespace skep::jit
