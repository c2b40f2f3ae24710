#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "maps/atomics.hpp"

namespace skep::maps {

// The places of a map: max_entries of them, each free, or taken by an element or by an insertion under way.
// A CPU gives the places of what it deletes to a count of its own and takes from there first, so CPUs that
// insert as much as they delete share nothing.
//
// Guarantees
//  - Never more than `total` places are taken.
//  - take() fails only if there was a moment during it at which no place was free, and no operation was under
//    way then that has given one back since or may do so yet. An insertion that loses to another of the same
//    key gives its place back, so who finds no place lets operations under way (Use) end first. It waits for
//    a number of turns, a tenth of a second at the most, and not for ever: a thread that is stopped inside
//    keeps at most one place from the others, and stops nobody.
//  - take() and give() are lock-free: an attempt fails only because another thread took or gave a place.
template <class Atomics>
class Places {
 public:
  // `cpus` counts and one for everybody, kShared, which holds all places at first. Check valid() afterwards.
  static constexpr unsigned kShared = UINT32_MAX;
  Places(unsigned cpus, uint32_t total)
      : total_(total), cpus_(cpus), counts_(new(std::nothrow) Count[cpus]), shared_{total} {}

  bool valid() const { return counts_ != nullptr; }

  // An operation that may take a place or give one back, while it is under way.
  class Use {
   public:
    Use(Places& places, unsigned cpu) : places_(places), cpu_(cpu) { places.begin(cpu); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { places_.end(cpu_); }

   private:
    Places& places_;
    unsigned cpu_;
  };

  // Inside a Use of the same CPU.
  bool take(unsigned cpu) {
    if (cpu != kShared && take_from(counts_[cpu].word)) return true;
    return take_from(shared_) || take_patiently(cpu);
  }

  void give(unsigned cpu) {
    if (cpu == kShared) {
      give_to(shared_);
      return;
    }
    Word& word = counts_[cpu].word;
    // A CPU that only deletes does not hoard: others would have to look for its places. Relaxed: a hint.
    if (free_in(word.load(std::memory_order_relaxed)) >= kHoard) {
      give_to(shared_);
      return;
    }
    // Before the place shows in the count, see take_anywhere(). The look spares the exchange nearly always.
    uint32_t used = used_.load(std::memory_order_seq_cst);
    while (used <= cpu && !used_.compare_exchange_weak(used, cpu + 1, std::memory_order_seq_cst)) {
    }
    give_to(word);
  }

  // How many places are taken. Exact when nobody takes or gives one meanwhile.
  uint32_t taken() const {
    uint64_t free = free_in(shared_.load(std::memory_order_relaxed));
    const uint32_t used = used_.load(std::memory_order_relaxed);
    for (uint32_t cpu = 0; cpu < used; ++cpu)
      free += free_in(counts_[cpu].word.load(std::memory_order_relaxed));
    return free >= total_ ? 0 : static_cast<uint32_t>(total_ - free);
  }

  // Frees all places. Nobody else may be using them.
  void clear() {
    // Relaxed, as nobody else is there.
    const uint32_t used = used_.load(std::memory_order_relaxed);
    for (uint32_t cpu = 0; cpu < used; ++cpu) counts_[cpu].word.store(0, std::memory_order_relaxed);
    used_.store(0, std::memory_order_relaxed);
    shared_.store(total_, std::memory_order_relaxed);
  }

 private:
  // The number of free places in the lower half. The upper half counts what was ever given, so that nobody
  // who looks twice takes "given and taken again" for "nothing has happened".
  using Word = typename Atomics::template Atomic<uint64_t>;
  static constexpr uint64_t kGiven = (uint64_t{1} << 32) + 1;
  static constexpr uint32_t kHoard = 256;

  // How often one who finds a place given since looks again.
  static constexpr unsigned kPatience = 32;

  struct alignas(kCacheLine) Count {
    Word word{0};
    typename Atomics::template Atomic<uint32_t> operations{0};
  };

  // Odd while an operation is under way. It becomes so before a place is taken, and even after the element is
  // published or the place given back: release, so that who sees it even (acquire) sees that too. The
  // beginning needs no order of its own, since it comes before the exchange that takes the place. Relaxed
  // loads: only we write it.
  void begin(unsigned cpu) {
    if (cpu == kShared) {
      tasks_under_way_.fetch_add(1, std::memory_order_seq_cst);
      return;
    }
    auto& operations = counts_[cpu].operations;
    operations.store(operations.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void end(unsigned cpu) {
    if (cpu == kShared) {
      tasks_under_way_.fetch_add(UINT32_MAX, std::memory_order_seq_cst);
      return;
    }
    auto& operations = counts_[cpu].operations;
    operations.store(operations.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  void let_others_end(unsigned cpu) const;

  static uint32_t free_in(uint64_t word) { return static_cast<uint32_t>(word); }

  // The counts order nothing but themselves: the chains and the pool publish elements. seq_cst is for
  // take_anywhere(), whose argument needs one order of all counts; on x86-64 it costs nothing here.
  static bool take_from(Word& word) {
    uint64_t seen = word.load(std::memory_order_seq_cst);
    while (free_in(seen) != 0) {
      if (word.compare_exchange_weak(seen, seen - 1, std::memory_order_seq_cst)) return true;
    }
    return false;
  }
  static void give_to(Word& word) { word.fetch_add(kGiven, std::memory_order_seq_cst); }

  bool take_anywhere(uint64_t& given);
  bool take_patiently(unsigned cpu);

  uint32_t total_;
  unsigned cpus_;
  std::unique_ptr<Count[]> counts_;
  // CPUs from this number on have never given a place back.
  alignas(kCacheLine) typename Atomics::template Atomic<uint32_t> used_{0};
  alignas(kCacheLine) Word shared_;
  typename Atomics::template Atomic<uint32_t> tasks_under_way_{0};
};

// Looks through all counts, twice before it says that there is no place: if all are found empty, and found
// empty again with nothing given in between, all were empty together at the moment between the two rounds. A
// count only rises by what is given, which shows in its upper half. A CPU that gives its first place raises
// used_ before, so a count beyond used_ as read after the second round was empty at that moment too.
template <class Atomics>
bool Places<Atomics>::take_anywhere(uint64_t& given_in_all) {
  for (;;) {
    // The sum stands for the words: the upper halves only grow, so it stays the same only if all do.
    const auto look = [this](uint64_t& given) {
      given = 0;
      const uint32_t used = used_.load(std::memory_order_seq_cst);
      for (uint32_t cpu = 0; cpu <= used; ++cpu) {
        const uint64_t word = (cpu == used ? shared_ : counts_[cpu].word).load(std::memory_order_seq_cst);
        if (free_in(word) != 0) return false;
        given += word >> 32;
      }
      return true;
    };
    uint64_t before = 0;
    uint64_t after = 0;
    const uint32_t used = used_.load(std::memory_order_seq_cst);
    if (look(before) && look(after) && before == after && used_.load(std::memory_order_seq_cst) == used) {
      given_in_all = after;
      return false;
    }
    for (uint32_t cpu = 0; cpu < used; ++cpu) {
      if (take_from(counts_[cpu].word)) return true;
    }
    if (take_from(shared_)) return true;
  }
}

// Those that are under way now, but for the caller's.
template <class Atomics>
void Places<Atomics>::let_others_end(unsigned cpu) const {
  const auto wait_while = [](const auto& under_way) {
    for (unsigned turn = 0; turn < Atomics::kPatience && under_way(); ++turn) Atomics::let_others_run(turn);
  };
  for (uint32_t other = 0; other < cpus_; ++other) {
    const auto& operations = counts_[other].operations;
    const uint32_t seen = operations.load(std::memory_order_acquire);
    if (other == cpu || seen % 2 == 0) continue;
    wait_while([&] { return operations.load(std::memory_order_acquire) == seen; });
  }
  wait_while([&] { return tasks_under_way_.load(std::memory_order_acquire) != 0; });
}

// Those under way when no place was free have ended then: they hold their places for good, or have given them
// back, which a second look finds.
template <class Atomics>
bool Places<Atomics>::take_patiently(unsigned cpu) {
  uint64_t given = 0;
  if (take_anywhere(given)) return true;
  for (unsigned turn = 0; turn < kPatience; ++turn) {
    // Others need not wait for us: we have no place to give back.
    end(cpu);
    let_others_end(cpu);
    begin(cpu);
    uint64_t given_since = 0;
    if (take_anywhere(given_since)) return true;
    if (given == given_since) return false;
    given = given_since;
  }
  return false;
}

}  // namespace skep::maps
