#include "maps/ring_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "maps/mapping.hpp"

namespace skep::maps {

RingMemory RingMemory::create(size_t size) {
  if (size > memory_limit()) return {};
  const int descriptor = memfd_create("bpf-map", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return {};
  const size_t file = mapped(size) - kPage;
  void* const front =
      mmap(nullptr, mapped(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (front == MAP_FAILED) {
    close(descriptor);
    return {};
  }
  RingMemory memory(static_cast<std::byte*>(front), size, descriptor);
  // User space gets this file: it may not take the pages away from under the map.
  if (ftruncate(descriptor, static_cast<off_t>(file)) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0 ||
      mmap(memory.front_ + kPage, file, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
           descriptor, 0) == MAP_FAILED)
    return {};
  return memory;
}

RingMemory::~RingMemory() {
  if (front_ != nullptr) munmap(front_, mapped(size_));
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace skep::maps
