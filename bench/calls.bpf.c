// What bench_calls runs: programs that do little but call.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// As in bench_calls.cpp.
enum { kLoops = 10000, kHelperCalls = 1000, kTailCalls = 33 };

char LICENSE[] SEC("license") = "GPL";

SEC("raw")
unsigned long empty(void* memory) { return 0; }

SEC("raw")
unsigned long helper(void* memory) {
  unsigned long sum = 0;
  for (int n = 0; n < kHelperCalls; ++n) sum += bpf_get_smp_processor_id();
  return sum;
}

// A helper that no engine carries out in place.
SEC("raw")
unsigned long function(void* memory) {
  unsigned long sum = 0;
  for (int n = 0; n < kHelperCalls; ++n) sum += bpf_get_numa_node_id();
  return sum;
}

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 16);
  __type(key, unsigned int);
  __type(value, unsigned long);
} array SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16);
  __type(key, unsigned int);
  __type(value, unsigned long);
} hash SEC(".maps");

SEC("raw")
unsigned long array_lookup(void* memory) {
  unsigned long found = 0;
  for (unsigned int n = 0; n < kHelperCalls; ++n) {
    unsigned int key = n & 15;
    if (bpf_map_lookup_elem(&array, &key)) ++found;
  }
  return found;
}

// Of a key that is not there.
SEC("raw")
unsigned long hash_lookup(void* memory) {
  unsigned long found = 0;
  for (unsigned int n = 0; n < kHelperCalls; ++n) {
    unsigned int key = n & 15;
    if (bpf_map_lookup_elem(&hash, &key)) ++found;
  }
  return found;
}

static long count(unsigned int index, unsigned long* sum) {
  *sum += index;
  return 0;
}

SEC("raw")
unsigned long loop(void* memory) {
  unsigned long sum = 0;
  bpf_loop(kLoops, count, &sum, 0);
  return sum;
}

unsigned long tail(void* memory);

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(int));
  __array(values, unsigned long(void*));
} next SEC(".maps") = {.values = {[0] = (void*)&tail}};

// Calls itself as often as the kernel lets it: kTailCalls times.
SEC("raw")
unsigned long tail(void* memory) {
  bpf_tail_call(memory, &next, 0);
  return 1;
}
