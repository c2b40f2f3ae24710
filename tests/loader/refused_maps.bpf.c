// Legacy maps that are refused: one of SHORT_DEFINITION, EXTRA_FIELD, UNEVEN_SIZES, BETWEEN_MAPS, NO_MAPS.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct bpf_map_def {
  unsigned int type;
  unsigned int key_size;
  unsigned int value_size;
  unsigned int max_entries;
#ifndef SHORT_DEFINITION
  unsigned int map_flags;
#endif
#ifdef EXTRA_FIELD
  unsigned int pinning;
#endif
};

#ifdef NO_MAPS
static int nothing SEC("maps") __attribute__((used)) = 0;
#else
struct bpf_map_def SEC("maps") first = {.type = 1, .key_size = 4, .value_size = 8, .max_entries = 1};
struct bpf_map_def SEC("maps") broken = {
    .type = 1,
    .key_size = 4,
    .value_size = 8,
    .max_entries = 1,
#ifdef EXTRA_FIELD
    .pinning = 2,
#endif
};
#endif

#ifdef UNEVEN_SIZES
struct {
  struct bpf_map_def definition;
  unsigned int more;
} uneven SEC("maps") = {{1, 4, 8, 1, 0}, 0};
#endif

#ifdef BETWEEN_MAPS
static struct bpf_map_def SEC("maps") hidden __attribute__((used)) = {1, 4, 8, 1, 0};
#endif

SEC("xdp")
int pass(struct xdp_md* ctx) {
#ifdef BETWEEN_MAPS
  void* inside;
  asm volatile("%0 = hidden + 4 ll" : "=r"(inside));
#endif
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
