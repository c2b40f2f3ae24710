#include "maps/bloom_filter.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <utility>

#include "maps/attributes.hpp"
#include "maps/key_hash.hpp"

namespace skep::maps {

namespace {

constexpr unsigned kDefaultHashes = 5;
constexpr uint64_t kMostHashes = 0xf;

unsigned hashes_of(const MapSpec& spec) {
  return spec.map_extra == 0 ? kDefaultHashes : static_cast<unsigned>(spec.map_extra);
}

// entries * hashes / ln 2 bits give the fewest false answers; 7 / 5 stands for 1 / ln 2 here as in the
// kernel, and a number too large for 32 bits gets 2^32.
uint64_t bits_of(const MapSpec& spec) {
  constexpr uint64_t kMost = uint64_t{1} << 32;
  const uint64_t product = uint64_t{spec.max_entries} * hashes_of(spec);
  const uint64_t wanted = product / 5 * 7;
  if (product >= kMost || wanted > kMost / 2) return kMost;
  return std::bit_ceil(std::max<uint64_t>(wanted, 64));
}

}  // namespace

Result<std::shared_ptr<Map>> BloomFilter::create(const MapSpec& spec, const MapEnvironment& environment) {
  if (spec.value_size > kMaxAllocation)
    return fail(E2BIG, fmt::format("value_size {} is too large", spec.value_size));
  if (spec.key_size != 0)
    return fail(EINVAL, fmt::format("key_size is {}, there are no keys", spec.key_size));
  if (spec.value_size == 0) return fail(EINVAL, "value_size is 0");
  if (spec.max_entries == 0) return fail(EINVAL, "max_entries is 0");
  const uint32_t unknown = spec.flags & ~(BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | kAccessFlags);
  if (unknown != 0) return fail(EINVAL, fmt::format("map_flags has unknown bits {:#x}", unknown));
  if (spec.map_extra > kMostHashes)
    return fail(EINVAL, fmt::format("map_extra is {:#x}, there are up to 15 hashes", spec.map_extra));
  const uint64_t size = bits_of(spec);
  Mapping bits = Mapping::anonymous(size / 8);
  if (!bits) return fail(ENOMEM, "there is no memory for the bloom filter");
  return std::make_shared<BloomFilter>(spec, environment, std::move(bits), size);
}

BloomFilter::BloomFilter(const MapSpec& spec, const MapEnvironment& environment, Mapping bits, uint64_t size)
    : Map(spec, environment),
      bits_(std::move(bits)),
      mask_(size - 1),
      seed_(expand_seed((spec.flags & BPF_F_ZERO_SEED) != 0 ? 0 : environment.hash_seed)),
      hashes_(hashes_of(spec)) {}

template <class Visit>
bool BloomFilter::each_bit(const void* value, const Visit& visit) const {
  // Two hashes make as many as are wanted: the first plus multiples of the second, which is odd so that all
  // bits can be reached.
  uint64_t bit = hash_key(value, spec().value_size, seed_);
  const uint64_t step = uint64_t{hash_key(value, spec().value_size, ~seed_)} << 1 | 1;
  // 32 bits of hash are spread over the larger sizes.
  bit = bit * UINT64_C(0x9e3779b97f4a7c15) >> 17;
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(bits_.data());
  for (unsigned n = 0; n < hashes_; ++n, bit += step) {
    const uint64_t at = bit & mask_;
    if (!visit(words[at / 64], uint64_t{1} << at % 64)) return false;
  }
  return true;
}

int BloomFilter::push(const void* value, uint64_t flags, unsigned /*cpu*/) {
  if (flags != BPF_ANY) return -EINVAL;
  each_bit(value, [](std::atomic<uint64_t>& word, uint64_t bit) {
    // Relaxed: the bits are all there is, and nothing is reached through them. Who is told of the push
    // otherwise is told after it. Bits that are set already are not written, so that readers keep their cache
    // lines.
    if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit, std::memory_order_relaxed);
    return true;
  });
  return 0;
}

int BloomFilter::peek(void* value) {
  const bool all = each_bit(value, [](const std::atomic<uint64_t>& word, uint64_t bit) {
    return (word.load(std::memory_order_relaxed) & bit) != 0;  // see push()
  });
  return all ? 0 : -ENOENT;
}

int BloomFilter::pop(void* /*value*/, unsigned /*cpu*/) { return -EOPNOTSUPP; }
int BloomFilter::update(const void* /*key*/, const void* /*value*/, uint64_t /*flags*/, unsigned /*cpu*/) {
  return -EINVAL;
}
int BloomFilter::erase(const void* /*key*/) { return -EOPNOTSUPP; }
int BloomFilter::next_key(const void* /*key*/, void* /*next*/) { return -EOPNOTSUPP; }

int BloomFilter::read(const void* /*key*/, void* value, uint64_t flags) {
  if (const int refused = check_read_flags(flags)) return refused;
  return peek(value);
}

int BloomFilter::write(const void* /*key*/, const void* value, uint64_t flags) {
  return push(value, flags, 0);
}

int BloomFilter::clear() {
  // Pages that were never touched cost nothing to give up, and all read as zero after it.
  return madvise(bits_.data(), bits_.size(), MADV_DONTNEED) == 0 ? 0 : -errno;
}

}  // namespace skep::maps
