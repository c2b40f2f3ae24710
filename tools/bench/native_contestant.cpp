#include "tools/bench/native_contestant.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>

#include "tools/bench/clock.hpp"

namespace skep::tools {

void NativeContestant::Close::operator()(void* library) const { dlclose(library); }

Result<std::unique_ptr<NativeContestant>> NativeContestant::open(const std::string& place, bool verdict) {
  const size_t colon = place.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == place.size())
    return fail(EINVAL, fmt::format("--native {}: not of the form SHARED_OBJECT:SYMBOL", place));
  const std::string path = place.substr(0, colon);
  const std::string symbol = place.substr(colon + 1);
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  // Without a slash dlopen would look in the system's folders.
  Library library(dlopen(error ? path.c_str() : absolute.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (!library) return fail(ENOENT, fmt::format("--native: {}", dlerror()));
  void* address = dlsym(library.get(), symbol.c_str());
  if (!address) return fail(ENOENT, fmt::format("--native: {} has no symbol '{}'", path, symbol));
  return std::unique_ptr<NativeContestant>(
      new NativeContestant(std::move(library), reinterpret_cast<NativeFunction>(address), verdict));
}

Result<Observation> NativeContestant::observe(const Packet& input) {
  std::vector<uint8_t> memory = input.bytes;
  const uint64_t value = function_(memory.data(), memory.size());
  Observation seen;
  seen.return_value = verdict_ ? static_cast<uint32_t>(value) : value;
  const auto bytes = std::as_bytes(std::span(memory));
  seen.memory.assign(bytes.begin(), bytes.end());
  return seen;
}

Result<double> NativeContestant::time(std::span<const Packet> inputs, uint64_t passes) {
  const uint64_t start = thread_nanoseconds();
  for (uint64_t pass = 0; pass < passes; ++pass)
    for (const Packet& input : inputs) {
      memory_.assign(input.bytes.begin(), input.bytes.end());
      const uint64_t value = function_(memory_.data(), memory_.size());
      asm volatile("" : : "r"(value) : "memory");  // the call is made whatever the compiler knows of it
    }
  return static_cast<double>(thread_nanoseconds() - start);
}

}  // namespace skep::tools
