#include "helpers/format.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace skep::helpers {
namespace {

constexpr size_t kMaxString = 512;  // MAX_BPRINTF_BIN_ARGS: what one %s may take

bool is_ascii(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x80 && (byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

class Formatter {
 public:
  Formatter(vm::Cpu& cpu, std::string_view text, std::span<const uint64_t> arguments)
      : cpu_(cpu), text_(text), arguments_(arguments) {}

  std::expected<std::string, int> run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (!is_ascii(c)) return std::unexpected(EINVAL);
      ++at_;
      if (c != '%')
        out_ += c;
      else if (!conversion())
        return std::unexpected(EINVAL);
    }
    return std::move(out_);
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool conversion() {
    if (take('%')) {
      out_ += '%';
      return true;
    }
    std::string spec = "%";
    while (peek() != '\0' && std::strchr("0+- #", peek())) spec += text_[at_++];
    while (peek() >= '0' && peek() <= '9' && spec.size() < 16) spec += text_[at_++];
    if (next_ >= arguments_.size()) return false;
    const uint64_t value = arguments_[next_++];
    if (take('p')) return pointer(value);
    if (take('s')) return append(spec + 's', string_at(value).c_str());
    if (take('c')) return append(spec + 'c', static_cast<int>(value & 0xff));
    return integer(spec, value);
  }

  bool integer(const std::string& spec, uint64_t value) {
    int longs = 0;
    while (longs < 2 && take('l')) ++longs;
    const char c = peek();
    if (c == '\0' || !std::strchr("diuxXo", c)) return false;
    ++at_;
    // A plain conversion prints the low 32 bits; l and ll are both 64 bits wide.
    const bool is_signed = c == 'd' || c == 'i';
    if (longs == 0)
      value = is_signed ? static_cast<uint64_t>(static_cast<int32_t>(static_cast<uint32_t>(value)))
                        : static_cast<uint32_t>(value);
    return append(spec + "ll" + c, static_cast<unsigned long long>(value));
  }

  template <class T>
  bool append(const std::string& spec, T value) {
    std::array<char, 1100> buffer;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    const int length = std::snprintf(buffer.data(), buffer.size(), spec.c_str(), value);
#pragma GCC diagnostic pop
    if (length < 0) return false;
    out_.append(buffer.data(), std::min(static_cast<size_t>(length), buffer.size() - 1));
    return true;
  }

  bool pointer(uint64_t value) {
    if (take("i4") || take("I4")) return address(value, AF_INET, 4);
    if (take("i6") || take("I6")) return address(value, AF_INET6, 16);
    // The kernel hashes all but %px; in user space there is nothing to hide from oneself.
    static_cast<void>(take('x') || take('K'));
    out_ += fmt::format("{:016x}", value);
    return true;
  }

  bool address(uint64_t at, int family, size_t size) {
    std::array<std::byte, 16> bytes{};
    if (cpu_.may_access(*cpu_.run().program, at, size, false))
      std::memcpy(bytes.data(), reinterpret_cast<const void*>(at), size);
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(family, bytes.data(), text.data(), text.size());
    out_ += text.data();
    return true;
  }

  std::string string_at(uint64_t at) {
    std::string out;
    while (out.size() < kMaxString && cpu_.may_access(*cpu_.run().program, at + out.size(), 1, false)) {
      const char c = *reinterpret_cast<const char*>(at + out.size());
      if (c == '\0') return out;
      out += c;
    }
    return out.size() == kMaxString ? out : std::string();
  }

  vm::Cpu& cpu_;
  std::string_view text_;
  std::span<const uint64_t> arguments_;
  size_t at_ = 0;
  size_t next_ = 0;
  std::string out_;
};

}  // namespace

std::expected<std::string, int> format(vm::Cpu& cpu, std::string_view text,
                                       std::span<const uint64_t> arguments) {
  return Formatter(cpu, text, arguments).run();
}

}  // namespace skep::helpers
