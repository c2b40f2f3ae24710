#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "helpers/format.hpp"
#include "helpers/functions.hpp"
#include "vm/machine.hpp"

namespace skep::helpers {
namespace {

constexpr size_t kMaxVarargs = 12;  // MAX_BPRINTF_VARARGS

// A format of a given size, which has to hold its terminator.
std::optional<std::string_view> terminated(uint64_t address, uint64_t size) {
  const auto* text = reinterpret_cast<const char*>(address);
  const void* end = std::memchr(text, '\0', size);
  if (!end) return std::nullopt;
  return std::string_view(text, static_cast<size_t>(static_cast<const char*>(end) - text));
}

// The arguments in memory: an array of 64-bit words.
struct Varargs {
  std::array<uint64_t, kMaxVarargs> words{};
  size_t count = 0;
};

std::optional<Varargs> read_varargs(uint64_t address, uint64_t size) {
  const auto bytes = static_cast<uint32_t>(size);
  Varargs out;
  if (bytes % 8 != 0 || bytes > sizeof out.words || (bytes != 0 && address == 0)) return std::nullopt;
  if (bytes != 0) std::memcpy(out.words.data(), reinterpret_cast<const void*>(address), bytes);
  out.count = bytes / 8;
  return out;
}

uint64_t trace(vm::Cpu& cpu, std::string_view text, std::span<const uint64_t> arguments) {
  const auto line = format(cpu, text, arguments);
  if (!line) return error(line.error());
  std::string_view shown = *line;
  if (shown.ends_with('\n')) shown.remove_suffix(1);
  cpu.machine().trace(cpu.id(), shown);
  return line->size();
}

}  // namespace

uint64_t strncmp(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t, uint64_t, vm::Cpu&) {
  const int order = std::strncmp(reinterpret_cast<const char*>(r1), reinterpret_cast<const char*>(r3),
                                 static_cast<uint32_t>(r2));
  return order == 0 ? 0 : order < 0 ? static_cast<uint64_t>(-1) : 1;
}

uint64_t trace_printk(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu& cpu) {
  const auto text = terminated(r1, static_cast<uint32_t>(r2));
  if (!text) return error(EINVAL);
  const std::array arguments{r3, r4, r5};
  return trace(cpu, *text, arguments);
}

uint64_t trace_vprintk(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t, vm::Cpu& cpu) {
  const auto text = terminated(r1, static_cast<uint32_t>(r2));
  const auto arguments = read_varargs(r3, r4);
  if (!text || !arguments) return error(EINVAL);
  return trace(cpu, *text, std::span(arguments->words).first(arguments->count));
}

// The length with its terminator, even where the buffer is too short for it.
uint64_t snprintf(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu& cpu) {
  const auto arguments = read_varargs(r4, r5);
  if (!arguments) return error(EINVAL);
  const auto text =
      format(cpu, reinterpret_cast<const char*>(r3), std::span(arguments->words).first(arguments->count));
  if (!text) return error(text.error());
  if (const auto room = static_cast<uint32_t>(r2); room != 0) {
    const size_t copied = std::min<size_t>(text->size(), room - 1);
    std::memcpy(reinterpret_cast<void*>(r1), text->data(), copied);
    reinterpret_cast<char*>(r1)[copied] = '\0';
  }
  return text->size() + 1;
}

}  // namespace skep::helpers
