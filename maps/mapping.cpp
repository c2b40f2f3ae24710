#include "maps/mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace skep::maps {

namespace {

uint64_t page_size() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

uint64_t memory_limit() {
  static const uint64_t limit = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_size();
  return limit;
}

Mapping Mapping::anonymous(uint64_t bytes) {
  if (bytes == 0 || bytes > memory_limit()) return {};
  void* data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return {};
  return {static_cast<std::byte*>(data), bytes, -1};
}

Mapping Mapping::memory_file(uint64_t bytes, const char* name) {
  if (bytes == 0 || bytes > memory_limit()) return {};
  const uint64_t size = (bytes + page_size() - 1) / page_size() * page_size();
  const int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return {};
  // User space gets this file: it may not take the pages away from under the map.
  if (ftruncate(descriptor, static_cast<off_t>(size)) == 0 &&
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
    if (data != MAP_FAILED) return {static_cast<std::byte*>(data), size, descriptor};
  }
  close(descriptor);
  return {};
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) munmap(data_, size_);
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace skep::maps
