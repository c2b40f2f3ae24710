#include "maps/doorbell.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace skep::maps {

namespace {

// An eventfd that has counted this far cannot be written to.
constexpr uint64_t kFull = UINT64_MAX - 1;

}  // namespace

Doorbell::~Doorbell() {
  const int descriptor = descriptor_.load(std::memory_order_relaxed);  // nobody else is here any more
  if (descriptor >= 0) close(descriptor);
}

int Doorbell::descriptor() {
  {
    const std::scoped_lock lock(making_);
    const int known = descriptor_.load(std::memory_order_relaxed);  // written under the lock
    if (known >= 0) return known;
    const int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made < 0) return -errno;
    // Release: pairs with ring(). Who does not see it yet has nobody to wake; settle() looks for itself.
    descriptor_.store(made, std::memory_order_release);
  }
  if (ready()) ring();
  settle();
  return descriptor_.load(std::memory_order_relaxed);  // does not change any more
}

uint32_t Doorbell::foreign_events() const {
  return side_ == Side::kReadable ? EPOLLOUT | EPOLLWRNORM : EPOLLIN | EPOLLRDNORM;
}

// Reads and writes of an eventfd that does not block have nothing to say but that it is so already.
void Doorbell::show(bool ready) const {
  const int descriptor = descriptor_.load(std::memory_order_acquire);
  uint64_t count = 0;
  if (side_ == Side::kReadable) {
    if (ready)
      (void)!eventfd_write(descriptor, 1);
    else
      (void)!eventfd_read(descriptor, &count);
    return;
  }
  (void)!eventfd_read(descriptor, &count);
  if (!ready) (void)!eventfd_write(descriptor, kFull);
}

void Doorbell::ring_slowly() {
  // Sequentially consistent, as in settle(): whoever is told here that the eventfd is ready is followed by
  // settle()'s second look, which then sees what he rang for.
  if (!rung_.exchange(true)) show(true);
}

void Doorbell::settle() {
  if (descriptor_.load(std::memory_order_acquire) < 0 || ready()) return;
  // Quiet first and rung_ second: in between others leave the eventfd alone, and then we look again for them.
  show(false);
  rung_.store(false);
  if (ready()) ring_slowly();
}

}  // namespace skep::maps
