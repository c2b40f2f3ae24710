#include <benchmark/benchmark.h>

#include "bench/anchors/anchor.hpp"

namespace skep::bench {
namespace {

class LoopAnchor final : public Anchor {
 public:
  const char* name() const override { return "loop"; }
  bool has(AnchorOperation operation) const override { return operation == AnchorOperation::kLoop; }
  uint64_t run(AnchorOperation, RandomKeys& keys, unsigned operations) override {
    return count_keys(keys, operations, [](uint32_t key) {
      benchmark::DoNotOptimize(key);
      return true;
    });
  }
};

}  // namespace

std::unique_ptr<Anchor> make_loop_anchor(uint32_t) { return std::make_unique<LoopAnchor>(); }

std::vector<std::unique_ptr<Anchor>> make_anchors([[maybe_unused]] uint32_t entries) {
  std::vector<std::unique_ptr<Anchor>> out;
#ifdef SKEP_ANCHOR_URCU
  out.push_back(make_cds_lfht(entries));
#endif
#ifdef SKEP_ANCHOR_LIBCDS
  out.push_back(make_libcds(entries));
#endif
#ifdef SKEP_ANCHOR_CK
  out.push_back(make_concurrency_kit(entries));
#endif
  return out;
}

}  // namespace skep::bench
