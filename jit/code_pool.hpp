#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace skep::jit {

// Memory for machine code, in units of 64 bytes out of chunks that many programs share.
//
// No page is ever mapped writable and executable, not even one after the other: a chunk is a memory file that
// is mapped for reading and executing, and written by pwrite(2). Where the host refuses that (a mount without
// exec, a policy), each block is a private mapping instead, writable until it is written, executable from
// then on. What is free again is filled with int3.
//
// After fork(2) neither process writes to a chunk that both have: the other one may be running what is in it.
// Both go on with new chunks.
//
// All functions may be called from any thread. A block's memory is its owner's alone.
class CodePool {
 private:
  struct Chunk;

 public:
  static constexpr size_t kUnit = 64;

  // Room for code. Gives it back at its end.
  class Block {
   public:
    Block(Block&& other) noexcept;
    Block& operator=(Block&&) = delete;
    ~Block();

    std::span<const uint8_t> bytes() const { return {memory_, size_}; }
    // The whole block's bytes, once. Nobody executes them before. Throws std::bad_alloc where the host
    // refuses it.
    void write(std::span<const uint8_t> bytes);

   private:
    friend class CodePool;
    Block(CodePool& pool, Chunk* chunk, uint8_t* memory, size_t size)
        : pool_(pool), chunk_(chunk), memory_(memory), size_(size) {}

    CodePool& pool_;
    Chunk* chunk_;  // nullptr: a mapping of its own
    uint8_t* memory_;
    size_t size_;
  };

  enum class Storage : uint8_t { kShared, kPrivate };  // kPrivate: as if the host refused memory files

  explicit CodePool(Storage storage = Storage::kShared);
  CodePool(const CodePool&) = delete;
  CodePool& operator=(const CodePool&) = delete;
  ~CodePool();  // after its blocks

  Block allocate(size_t size);  // throws std::bad_alloc
  size_t chunks() const;        // how many there are, for tests

 private:
  Block allocate_alone(size_t size);
  void give_back(Chunk& chunk, uint8_t* memory, size_t size);

  mutable std::mutex mutex_;
  Storage storage_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace skep::jit
