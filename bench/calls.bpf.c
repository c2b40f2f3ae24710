// What bench_calls runs: programs that do little but call.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// As in bench_calls.cpp.
enum { kLoops = 10000, kHelperCalls = 1000, kTailCalls = 32 };

char LICENSE[] SEC("license") = "GPL";

SEC("raw")
unsigned long empty(void* memory) { return 0; }

SEC("raw")
unsigned long helper(void* memory) {
  unsigned long sum = 0;
  for (int n = 0; n < kHelperCalls; ++n) sum += bpf_get_smp_processor_id();
  return sum;
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

unsigned long tail(unsigned long* memory);

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(int));
  __array(values, unsigned long(unsigned long*));
} next SEC(".maps") = {.values = {[0] = (void*)&tail}};

// Calls itself as often as the memory says.
SEC("raw")
unsigned long tail(unsigned long* memory) {
  if (*memory == 0) return 1;
  --*memory;
  bpf_tail_call(memory, &next, 0);
  return 0;
}
