#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

namespace skep::maps {

class Map;

// The parts of a value that are the runtime's: programs reach them through helpers alone, and user space sees
// zeroes (enum btf_field_type of the kernel).
enum class FieldKind : uint8_t {
  kSpinLock,
  kTimer,
  kWorkQueue,
  kPointer,           // type tag kptr: exchanged by bpf_kptr_xchg
  kUntrustedPointer,  // kptr_untrusted: stored by plain stores
  kPerCpuPointer,     // percpu_kptr
  kListHead,
  kTreeRoot,
  kRefcount,
};

uint32_t field_size(FieldKind kind);
uint32_t field_alignment(FieldKind kind);

// A set of kinds.
class FieldKinds {
 public:
  constexpr FieldKinds() = default;
  constexpr FieldKinds(std::initializer_list<FieldKind> kinds) {
    for (const FieldKind kind : kinds) bits_ |= bit(kind);
  }
  constexpr bool has(FieldKind kind) const { return (bits_ & bit(kind)) != 0; }
  constexpr void add(FieldKind kind) { bits_ |= bit(kind); }
  constexpr bool has_all(FieldKinds others) const { return (others.bits_ & ~bits_) == 0; }
  constexpr bool has_any(FieldKinds others) const { return (others.bits_ & bits_) != 0; }
  friend constexpr bool operator==(FieldKinds, FieldKinds) = default;

 private:
  static constexpr uint32_t bit(FieldKind kind) { return 1U << static_cast<unsigned>(kind); }
  uint32_t bits_ = 0;
};

inline constexpr FieldKinds kPointerFields{FieldKind::kPointer, FieldKind::kUntrustedPointer,
                                           FieldKind::kPerCpuPointer};

struct ValueField {
  FieldKind kind = FieldKind::kSpinLock;
  uint32_t offset = 0;
  uint32_t size = 0;

  uint32_t end() const { return offset + size; }
  friend bool operator==(const ValueField&, const ValueField&) = default;
};

inline constexpr size_t kMaxFields = 11;  // BTF_FIELDS_MAX

// Where a value's fields are.
class ValueFields {
 public:
  ValueFields() = default;
  // Of fields that do not overlap, in ascending order, kMaxFields at most.
  explicit ValueFields(std::span<const ValueField> fields);

  bool empty() const { return count_ == 0; }
  FieldKinds kinds() const { return kinds_; }
  bool has(FieldKind kind) const { return kinds_.has(kind); }
  std::span<const ValueField> all() const { return {fields_.data(), count_}; }
  // The first of that kind; of locks and timers there is only one.
  const ValueField* find(FieldKind kind) const;
  // What lies between two fields, or before or behind all, around [offset, offset + size) of a value of
  // `value_size` bytes; nullopt: a field is touched.
  struct Gap {
    uint32_t begin = 0;
    uint32_t end = 0;
  };
  std::optional<Gap> gap_around(uint64_t offset, uint64_t size, uint32_t value_size) const;
  friend bool operator==(const ValueFields&, const ValueFields&) = default;

 private:
  std::array<ValueField, kMaxFields> fields_{};
  size_t count_ = 0;
  FieldKinds kinds_;
};

// Who keeps what is behind a timer's field: the machine. Thread-safe.
class TimerKeeper {
 public:
  // Cancels and forgets the timer in the field, if one was set up there. Does not wait for its callback.
  virtual void release(std::byte* timer) = 0;
  // The same for all timers of a map.
  virtual void release_all(const Map& map) = 0;
  // The same for a map that ends; its values are gone already.
  virtual void forget(const Map& map) = 0;

 protected:
  ~TimerKeeper() = default;
};

// Copies all but the fields. `bytes`: a multiple of 8 at most above the value's size; relaxed, as
// copy_value_relaxed().
void copy_between_fields(const ValueFields& fields, void* to, const void* from, size_t bytes);
// Makes the fields what they are in a new element and what user space sees: zero, and a count of references
// 1 (bpf_obj_init()). In memory that is nobody else's.
void init_fields(const ValueFields& fields, void* value);
// An element's fields as it goes, or as its value is replaced: timers are cancelled, pointers forgotten.
// Locks stay as they are: somebody may hold them.
void release_fields(const ValueFields& fields, void* value, TimerKeeper* timers);

// The lock of a value: a word that is zero or says who has it. Not fair.
//
// Owners of locks wait for nobody, so that waiting ends: a program holds one at a time and calls nothing
// meanwhile.
class SpinLock {
 public:
  // The owner that is a command of user space, or a copy in the map's code.
  static constexpr uint32_t kCommand = UINT32_MAX;

  explicit SpinLock(void* word) : word_(static_cast<uint32_t*>(word)) {}
  bool try_lock(uint32_t owner);
  void lock(uint32_t owner);
  void unlock();
  // While an owner asks about itself, the answer stays true.
  bool is_held_by(uint32_t owner) const;
  // For those who wait: what to do between two attempts. The n-th time.
  static void pause(unsigned n);

 private:
  uint32_t* word_;
};

// Copies all but the fields under the value's lock. `locked` is the one of the two that the lock is in.
void copy_locked(const ValueFields& fields, void* to, const void* from, size_t bytes, void* locked);

}  // namespace skep::maps
