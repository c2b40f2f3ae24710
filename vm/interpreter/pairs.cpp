#include <algorithm>
#include <array>
#include <utility>

#include "vm/interpreter/chain.hpp"
#include "vm/interpreter/handlers.hpp"

// Super-steps: one handler for an operation and the next. To go from one handler to the next costs as much as
// most operations do: pairs of common ones take an eighth off the suite's time.
namespace skep::vm::interpreter {
namespace {

using enum Operation;

// What compilers and the passes mostly make. Constants of 32 and 64 bits are all kLdImm64 here.
constexpr auto kCommon = std::to_array<Operation>({
    kAdd64Imm, kAdd64Reg, kAdd32Imm,    kMov64Reg,     kLdImm64,      kAnd64Imm,     kAnd32Imm,
    kLsh64Imm, kRsh64Imm, kXor64Reg,    kXor32Reg,     kOr64Reg,      kAddress64,    kMul64Reg,
    kMul32Imm, kMov32Reg, kRsh32Imm,    kAdd32Reg,     kSub64Reg,     kMul64Imm,     kMul32Reg,
    kOr32Reg,  kLsh32Imm, kRotate64,    kRotate32,     kXor64Reg3,    kLdx8,         kLdx16,
    kLdx32,    kLdx64,    kLdxIndexed8, kLdxIndexed16, kLdxIndexed32, kLdxIndexed64, kLdxSwapped16,
    kStx8,     kStx32,    kStx64,       kStxIndexed8,  kJeq64Imm,     kJeq32Imm,     kJeq32Reg,
    kJne64Imm, kJne64Reg, kJne32Imm,    kJgt64Reg,     kJgt32Imm,     kJge64Reg,     kJlt64Imm,
    kJlt64Reg, kJle64Reg, kJset32Imm,   kGoto,         kExit,         kCallLocal,
});
// The first of them are what mostly stands before jumps and behind loads; the very first, behind stores.
constexpr size_t kMostCommon = 16;
constexpr size_t kBehindStores = 5;

enum class Kind : uint8_t { kStraight, kLoad, kStore, kJump, kControl };

struct Candidate {
  Treatment treatment;
  Kind kind;
  size_t rank;
};

template <class B>
constexpr Kind kind_of() {
  if constexpr (Straight<B>)
    return Kind::kStraight;
  else if constexpr (Accessing<B>)
    return B::kWrite ? Kind::kStore : Kind::kLoad;
  else if constexpr (Jumping<B>)
    return Kind::kJump;
  else
    return Kind::kControl;
}

template <size_t... n>
constexpr auto make_candidates(std::index_sequence<n...>) {
  std::array<Candidate, 2 * sizeof...(n)> out{};
  ((out[2 * n] = {{kCommon[n], false}, kind_of<Body<kCommon[n]>>(), n},
    out[2 * n + 1] = {{kCommon[n], true}, kind_of<Body<kCommon[n]>>(), n}),
   ...);
  return out;
}

constexpr auto kCandidates = make_candidates(std::make_index_sequence<kCommon.size()>());

constexpr bool exists(const Candidate& c) { return c.kind != Kind::kStraight || !c.treatment.checked; }

// Each pair costs half a hundred bytes and some milliseconds of the build.
constexpr bool worth(const Candidate& first, const Candidate& second) {
  if (!exists(first) || !exists(second)) return false;
  const bool alike = first.treatment.checked == second.treatment.checked;
  switch (first.kind) {
    case Kind::kStraight:
      return second.kind == Kind::kStraight || second.kind == Kind::kControl ||
             (second.kind == Kind::kJump && first.rank < kMostCommon);
    case Kind::kLoad:
      return (second.kind == Kind::kStraight && second.rank < kMostCommon) ||
             (second.kind == Kind::kJump && (alike || first.treatment.checked)) ||
             (second.kind == Kind::kStore && alike);
    case Kind::kStore:
      return (second.kind == Kind::kStraight && second.rank < kBehindStores) ||
             (second.kind == Kind::kStore && alike);
    case Kind::kJump:  // one that leads forward and is not taken
      return first.treatment.op != kGoto && !first.treatment.checked && second.kind == Kind::kJump && alike;
    case Kind::kControl:
      return false;
  }
  return false;
}

template <size_t first, size_t second>
constexpr Handler make_pair() {
  constexpr Candidate kFirst = kCandidates[first];
  constexpr Candidate kSecond = kCandidates[second];
  if constexpr (worth(kFirst, kSecond))
    return chain<Element<kFirst.treatment.op, kFirst.treatment.checked>,
                 Element<kSecond.treatment.op, kSecond.treatment.checked>>;
  else
    return nullptr;
}

using Row = std::array<Handler, kCandidates.size()>;

template <size_t first, size_t... second>
constexpr Row make_row(std::index_sequence<second...>) {
  return {make_pair<first, second>()...};
}

template <size_t... first>
constexpr std::array<Row, sizeof...(first)> make_pairs(std::index_sequence<first...> all) {
  return {make_row<first>(all)...};
}

constexpr auto kPairs = make_pairs(std::make_index_sequence<kCandidates.size()>());

constexpr uint8_t kNone = 0xff;

constexpr auto kPositions = [] {
  std::array<uint8_t, kOperations> out{};
  out.fill(kNone);
  for (size_t n = 0; n < kCommon.size(); ++n) out[static_cast<size_t>(kCommon[n])] = static_cast<uint8_t>(n);
  return out;
}();

constexpr auto kStraight = [] {
  std::array<bool, kCommon.size()> out{};
  for (size_t n = 0; n < kCommon.size(); ++n) out[n] = kCandidates[2 * n].kind == Kind::kStraight;
  return out;
}();

}  // namespace

Handler pair_handler(Treatment first, Treatment second) {
  const uint8_t a = kPositions[static_cast<size_t>(first.op)];
  const uint8_t b = kPositions[static_cast<size_t>(second.op)];
  if (a == kNone || b == kNone) return nullptr;
  const bool a_checked = first.checked && !kStraight[a];
  const bool b_checked = second.checked && !kStraight[b];
  return kPairs[2u * a + a_checked][2u * b + b_checked];
}

}  // namespace skep::vm::interpreter
