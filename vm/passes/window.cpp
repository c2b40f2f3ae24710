#include "vm/passes/window.hpp"

#include <bit>

namespace skep::vm {
namespace {

template <class Do>
void for_each_register(RegisterSet set, Do&& what) {
  for (unsigned bits = set; bits != 0; bits &= bits - 1) what(static_cast<uint8_t>(std::countr_zero(bits)));
}

}  // namespace

void Window::begin_block(uint32_t n) {
  block_ = n;
  written_.fill(0);
  read_.fill(0);
}

void Window::pass(uint32_t n) {
  if (marks_[n] != 0) return;
  const LoweredInstruction& i = at(n);
  const unsigned has = traits::of(i.op);
  constexpr unsigned kOperands = traits::kReadsDst | traits::kReadsSrc | traits::kReadsIndex |
                                 traits::kWritesDst | traits::kPure | traits::kConditional | traits::kJumps |
                                 traits::kEndsFlow;
  if ((has & ~kOperands) != 0) return pass_any(n);
  // What nobody asks about, the register that reads as 0, takes what is no register of the operation's.
  const auto place = [has](unsigned trait, uint8_t reg) { return (has & trait) != 0 ? reg : kZeroRegister; };
  read_[place(traits::kReadsDst, i.dst)] = n + 1;
  read_[place(traits::kReadsSrc, i.src)] = n + 1;
  read_[place(traits::kReadsIndex, i.index)] = n + 1;
  if ((has & traits::kWritesDst) == 0) return;
  before_[n] = written_[i.dst];
  written_[i.dst] = n + 1;
}

void Window::pass_any(uint32_t n) {
  const RegisterUse use = register_use(at(n));
  for_each_register(use.reads, [&](uint8_t reg) { read_[reg] = n + 1; });
  for_each_register(use.writes, [&](uint8_t reg) {
    before_[n] = written_[reg];  // of use to is_pure() operations alone, which write one
    written_[reg] = n + 1;
  });
}

std::optional<uint32_t> Window::writer(uint8_t reg) const {
  const Version written = written_[reg];
  if (written == 0 || read_[reg] > written) return std::nullopt;
  return written - 1;
}

std::optional<uint32_t> Window::producer(uint8_t reg) const {
  const auto from = writer(reg);
  return from && is_pure(code_.instructions[*from].op) ? from : std::nullopt;
}

std::optional<uint32_t> Window::sole_producer(uint8_t reg, uint32_t reader) const {
  return dies_at(reg, reader) ? producer(reg) : std::nullopt;
}

bool Window::holds_since(uint8_t reg, uint32_t n) const {
  return reg == kZeroRegister || written_[reg] <= n + 1;
}

Window::Version Window::version_before(uint8_t reg, uint32_t n) const {
  Version version = written_[reg];
  while (version > n && is_pure(code_.instructions[version - 1].op)) version = before_[version - 1];
  // Past a call nothing is known; no version is equal to this one.
  return version > n ? ~Version{0} - n : version;
}

Window::Version Window::version_without(uint8_t reg, uint32_t a, uint32_t b) const {
  Version version = written_[reg];
  while (version == a + 1 || version == b + 1) version = before_[version - 1];
  return version;
}

bool Window::dies_at(uint8_t reg, uint32_t n) const {
  const LoweredInstruction& i = code_.instructions[n];
  return (register_use(i).writes & register_set(reg)) != 0 || (i.live_after & register_set(reg)) == 0;
}

void Window::remove(uint32_t n) {
  const LoweredInstruction& i = code_.instructions[n];
  marks_[n] = 1;
  if (written_[i.dst] == n + 1) written_[i.dst] = before_[n];
}

void Window::extend(uint8_t reg, uint32_t from, uint32_t to) {
  if (reg == kZeroRegister) return;
  for (uint32_t n = from; n < to; ++n) code_.instructions[n].live_after |= register_set(reg);
}

}  // namespace skep::vm
