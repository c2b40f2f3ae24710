#include "fibers.hpp"

#include <utility>

namespace skep::maps {

void Fibers::add(std::function<void()> body) {
  auto fiber = std::make_unique<Fiber>();
  fiber->body = std::move(body);
  fiber->stack = std::make_unique_for_overwrite<std::byte[]>(kStackSize);
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackSize;
  fiber->context.uc_link = nullptr;
  makecontext(&fiber->context, &Fibers::enter, 0);
  fibers_.push_back(std::move(fiber));
}

void Fibers::enter() {
  Fibers& self = *running_;
  const size_t me = self.current_;
  self.fibers_[me]->body();
  self.fibers_[me]->done = true;
  self.current_ = self.choose_next();
  self.switch_from(me);
}

size_t Fibers::choose_next() {
  std::vector<size_t> runnable;
  for (size_t n = 0; n < fibers_.size(); ++n) {
    if (!fibers_[n]->done) runnable.push_back(n);
  }
  return runnable.empty() ? kNobody : choose_(runnable, current_);
}

// To whoever is current now.
void Fibers::switch_from(size_t fiber) {
  if (current_ != fiber) swapcontext(&context_of(fiber), &context_of(current_));
}

void Fibers::run(Choose choose) {
  choose_ = std::move(choose);
  running_ = this;
  current_ = kNobody;
  current_ = choose_next();
  switch_from(kNobody);
  running_ = nullptr;
}

void Fibers::step() {
  if (running_ == nullptr) return;
  Fibers& self = *running_;
  ++self.steps_;
  const size_t me = self.current_;
  self.current_ = self.choose_next();
  self.switch_from(me);
}

}  // namespace skep::maps
