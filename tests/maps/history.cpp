#include "history.hpp"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

namespace skep::maps {
namespace {

class Search {
 public:
  Search(const std::vector<Operation>& history, const Contents& after, uint32_t max_entries, bool evicts)
      : history_(history), after_(after), max_entries_(max_entries), evicts_(evicts) {}

  bool from(uint32_t done, const Contents& contents) {
    if (finished(done) && contents == after_) return true;
    if (!seen_.insert({done, contents}).second) return false;
    for (size_t n = 0; n < history_.size(); ++n) {
      if ((done >> n & 1) != 0 || !may_be_next(done, n)) continue;
      Contents then = contents;
      if (apply(history_[n], then) && from(done | 1U << n, then)) return true;
      if (evicts_ && history_[n].kind == Kind::kPut && from_evicted(done, contents)) return true;
    }
    return false;
  }

 private:
  // Without one of the elements.
  bool from_evicted(uint32_t done, const Contents& contents) {
    for (const auto& [key, value] : contents) {
      Contents then = contents;
      then.erase(key);
      if (from(done, then)) return true;
    }
    return false;
  }

  bool finished(uint32_t done) const {
    for (size_t n = 0; n < history_.size(); ++n) {
      if ((done >> n & 1) == 0 && !history_[n].pending()) return false;
    }
    return true;
  }

  // None that is still to come may have returned before this one was called.
  bool may_be_next(uint32_t done, size_t n) const {
    for (size_t other = 0; other < history_.size(); ++other) {
      if ((done >> other & 1) == 0 && history_[other].returned < history_[n].called) return false;
    }
    return true;
  }

  bool may_be_full(const Operation& refused, const Contents& contents) const {
    const auto under_way = std::ranges::count_if(history_, [&](const Operation& other) {
      return &other != &refused && other.kind != Kind::kLookup && other.called < refused.returned &&
             other.returned > refused.called;
    });
    return contents.size() + static_cast<size_t>(under_way) >= max_entries_;
  }

  // Does the operation; false if it would have given something else.
  bool apply(const Operation& operation, Contents& contents) const {
    const auto at = contents.find(operation.key);
    const uint64_t value = at == contents.end() ? 0 : at->second;
    switch (operation.kind) {
      case Kind::kLookup:
        return operation.pending() || operation.found == value;
      case Kind::kTake:
        if (value != 0) contents.erase(at);
        return operation.pending() || operation.found == value;
      case Kind::kPut:
        return put(operation, value, contents);
    }
    return false;
  }

  bool put(const Operation& operation, uint64_t value, Contents& contents) const {
    const bool any = operation.pending();
    if (!any && operation.result == -ENOMEM) return evicts_ && may_be_full(operation, contents);
    if (value != 0 && operation.flags == BPF_NOEXIST) return any || operation.result == -EEXIST;
    if (value == 0 && operation.flags == BPF_EXIST) return any || operation.result == -ENOENT;
    if (value == 0 && !any && operation.result == -E2BIG) return may_be_full(operation, contents);
    if (value == 0 && contents.size() >= max_entries_) return false;
    contents[operation.key] = operation.value;
    return any || operation.result == 0;
  }

  const std::vector<Operation>& history_;
  const Contents& after_;
  uint32_t max_entries_;
  bool evicts_;
  std::set<std::pair<uint32_t, Contents>> seen_;
};

}  // namespace

bool is_linearizable(const std::vector<Operation>& history, const Contents& before, const Contents& after,
                     uint32_t max_entries, bool evicts) {
  return Search(history, after, max_entries, evicts).from(0, before);
}

std::string describe(const std::vector<Operation>& history) {
  std::string out;
  for (const Operation& each : history) {
    switch (each.kind) {
      case Kind::kLookup:
        out += fmt::format("[{}, {}] lookup({}) = {}\n", each.called, each.returned, each.key, each.found);
        break;
      case Kind::kTake:
        out += fmt::format("[{}, {}] take({}) = {}\n", each.called, each.returned, each.key, each.found);
        break;
      case Kind::kPut:
        out += fmt::format("[{}, {}] put({}, {}, {}) = {}\n", each.called, each.returned, each.key,
                           each.value, each.flags, each.result);
        break;
    }
  }
  return out;
}

}  // namespace skep::maps
