#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skep::bench {

// What a program's memory holds.
enum class Memory : uint8_t { kRandom, kText, kStrings, kFrames };

using NativeFunction = uint64_t (*)(void* memory, uint64_t length);

struct SuiteProgram {
  std::string name;
  Memory memory;
  NativeFunction native;
};

std::span<const SuiteProgram> suite();

// The same bytes at every call, SUITE_LENGTH of them.
std::vector<std::byte> make_memory(Memory kind);

// The object that holds a program, compiled for a cpu version: "v3" or "v4".
std::string object_path(const SuiteProgram& program, std::string_view cpu);

}  // namespace skep::bench
