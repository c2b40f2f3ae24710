#include "jit/code_pool.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace skep::jit {
namespace {

constexpr size_t kChunk = size_t{256} * 1024;
constexpr uint8_t kInt3 = 0xcc;

constexpr size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

// How often this process, or those it comes from, has forked.
std::atomic<uint64_t>& forks() {
  static std::atomic<uint64_t> count{0};
  // Relaxed: fork() itself orders what its two processes see, and a thread that writes to a chunk while
  // another one forks writes where the child runs nothing: to a block that was being made or given back.
  static const int registered =
      pthread_atfork([] { count.fetch_add(1, std::memory_order_relaxed); }, nullptr, nullptr);
  static_cast<void>(registered);
  return count;
}

bool write_all(int file, std::span<const uint8_t> bytes, size_t at) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += static_cast<size_t>(written);
  }
  return true;
}

int make_memory_file() {
#ifdef MFD_EXEC
  if (const int file = memfd_create("skep-jit", MFD_CLOEXEC | MFD_EXEC); file >= 0) return file;
#endif
  return memfd_create("skep-jit", MFD_CLOEXEC);
}

// A wish only. What is close to skep's own functions calls them directly; there is room below them, the heap
// is above.
void* near_functions() {
  static constexpr uintptr_t kApart = uintptr_t{512} * 1024 * 1024;
  static constexpr uintptr_t kPage = 4096;
  const auto here = reinterpret_cast<uintptr_t>(&make_memory_file);
  return here > 2 * kApart ? reinterpret_cast<void*>((here - kApart) / kPage * kPage) : nullptr;
}

}  // namespace

struct CodePool::Chunk {
  struct Range {
    size_t begin;
    size_t size;
  };

  // nullptr: the host refuses it.
  static std::unique_ptr<Chunk> make(size_t size) {
    auto chunk = std::make_unique<Chunk>();
    chunk->file = make_memory_file();
    if (chunk->file < 0 || ftruncate(chunk->file, static_cast<off_t>(size)) != 0) return nullptr;
    void* memory = mmap(near_functions(), size, PROT_READ | PROT_EXEC, MAP_SHARED, chunk->file, 0);
    if (memory == MAP_FAILED) return nullptr;
    chunk->memory = static_cast<uint8_t*>(memory);
    chunk->size = size;
    chunk->free.push_back({0, size});
    return chunk;
  }
  Chunk() = default;
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() {
    if (memory != nullptr) munmap(memory, size);
    if (file >= 0) close(file);
  }

  // Of another process, too.
  bool is_shared() const { return made_after != forks().load(std::memory_order_relaxed); }
  bool is_empty() const { return free.size() == 1 && free.front().size == size; }

  uint8_t* take(size_t bytes) {
    const auto at = std::ranges::find_if(free, [bytes](const Range& range) { return range.size >= bytes; });
    if (at == free.end()) return nullptr;
    uint8_t* taken = memory + at->begin;
    at->begin += bytes;
    at->size -= bytes;
    if (at->size == 0) free.erase(at);
    return taken;
  }

  void put(size_t begin, size_t bytes) {
    auto at = std::ranges::lower_bound(free, begin, {}, &Range::begin);
    if (at != free.end() && begin + bytes == at->begin) {
      at->begin = begin;
      at->size += bytes;
    } else {
      at = free.insert(at, {begin, bytes});
    }
    if (at == free.begin()) return;
    const auto before = std::prev(at);
    if (before->begin + before->size != at->begin) return;
    before->size += at->size;
    free.erase(at);
  }

  bool fill(size_t begin, size_t bytes) const {
    static constexpr auto kTraps = [] {
      std::array<uint8_t, 4096> out;
      out.fill(kInt3);
      return out;
    }();
    for (size_t done = 0; done < bytes; done += kTraps.size())
      if (!write_all(file, std::span(kTraps).first(std::min(kTraps.size(), bytes - done)), begin + done))
        return false;
    return true;
  }

  int file = -1;
  uint8_t* memory = nullptr;
  size_t size = 0;
  uint64_t made_after = forks().load(std::memory_order_relaxed);
  std::vector<Range> free;  // in order, never adjacent; guarded by the pool's mutex
};

CodePool::CodePool(Storage storage) : storage_(storage) {}
CodePool::~CodePool() = default;

size_t CodePool::chunks() const {
  const std::scoped_lock lock(mutex_);
  return chunks_.size();
}

CodePool::Block CodePool::allocate(size_t size) {
  if (size == 0) throw std::bad_alloc();
  const std::scoped_lock lock(mutex_);
  if (storage_ == Storage::kPrivate) return allocate_alone(size);
  const size_t bytes = round_up(size, kUnit);
  for (const auto& chunk : chunks_) {
    if (chunk->is_shared()) continue;
    if (uint8_t* memory = chunk->take(bytes)) return {*this, chunk.get(), memory, size};
  }
  auto made = Chunk::make(round_up(std::max(bytes, kChunk), static_cast<size_t>(getpagesize())));
  if (!made) {
    storage_ = Storage::kPrivate;
    return allocate_alone(size);
  }
  Chunk& chunk = *chunks_.emplace_back(std::move(made));
  return {*this, &chunk, chunk.take(bytes), size};
}

CodePool::Block CodePool::allocate_alone(size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return {*this, nullptr, static_cast<uint8_t*>(memory), size};
}

void CodePool::give_back(Chunk& chunk, uint8_t* memory, size_t size) {
  const auto begin = static_cast<size_t>(memory - chunk.memory);
  const size_t bytes = round_up(size, kUnit);
  // Before it is free; what could not be filled is not used again.
  const bool filled = !chunk.is_shared() && chunk.fill(begin, bytes);
  const std::scoped_lock lock(mutex_);
  if (filled || chunk.is_shared()) chunk.put(begin, bytes);
  // One is kept for what comes next.
  if (chunk.is_empty() && (chunk.is_shared() || chunks_.size() > 1))
    std::erase_if(chunks_, [&](const auto& each) { return each.get() == &chunk; });
}

CodePool::Block::Block(Block&& other) noexcept
    : pool_(other.pool_),
      chunk_(other.chunk_),
      memory_(std::exchange(other.memory_, nullptr)),
      size_(other.size_) {}

CodePool::Block::~Block() {
  if (memory_ == nullptr) return;
  if (chunk_ != nullptr)
    pool_.give_back(*chunk_, memory_, size_);
  else
    munmap(memory_, size_);
}

void CodePool::Block::write(std::span<const uint8_t> bytes) {
  if (chunk_ != nullptr) {
    if (!write_all(chunk_->file, bytes, static_cast<size_t>(memory_ - chunk_->memory)))
      throw std::bad_alloc();
    return;
  }
  std::memcpy(memory_, bytes.data(), bytes.size());
  if (mprotect(memory_, size_, PROT_READ | PROT_EXEC) != 0) throw std::bad_alloc();
}

}  // namespace skep::jit
