// What the contract tests of the rings ask programs to do. Arguments and results are global variables.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

enum { kMaxBytes = 8192 };

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} ring SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
  __uint(max_entries, 4096);
} user_ring SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
  __uint(key_size, 4);
  __uint(value_size, 4);
} events SEC(".maps");

__u64 size = 0;
__u64 flags = 0;
__u64 commit_flags = 0;
__u64 value = 0;
__u64 stop_after = 0;
__s64 result = 0;
__s64 second_result = 0;
__u64 seen = 0;
__u64 sum = 0;
unsigned char bytes[kMaxBytes];

SEC("socket")
int output(struct __sk_buff* context) {
  __u64 length = size;
  if (length > kMaxBytes) return 1;
  result = bpf_ringbuf_output(&ring, bytes, length, flags);
  return 0;
}

SEC("socket")
int query(struct __sk_buff* context) {
  result = (__s64)bpf_ringbuf_query(&ring, flags);
  return 0;
}

// Reserves 24 bytes, writes `value` into them and lets them go.
SEC("socket")
int submit(struct __sk_buff* context) {
  __u64* record = bpf_ringbuf_reserve(&ring, 24, flags);
  result = record != 0;
  if (!record) return 0;
  record[0] = value;
  record[1] = value + 1;
  record[2] = value + 2;
  second_result = (__s64)bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
  bpf_ringbuf_submit(record, commit_flags);
  return 0;
}

SEC("socket")
int discard(struct __sk_buff* context) {
  __u64* record = bpf_ringbuf_reserve(&ring, 24, flags);
  result = record != 0;
  if (record) bpf_ringbuf_discard(record, commit_flags);
  return 0;
}

// A record that wants all of the ring does not fit, since a full ring has to differ from an empty one.
SEC("socket")
int reserve_all(struct __sk_buff* context) {
  void* record = bpf_ringbuf_reserve(&ring, 4088, 0);
  result = record != 0;
  if (record) bpf_ringbuf_discard(record, 0);
  return 0;
}

SEC("socket")
int reserve_most(struct __sk_buff* context) {
  void* record = bpf_ringbuf_reserve(&ring, 4080, 0);
  result = record != 0;
  if (record) bpf_ringbuf_discard(record, 0);
  return 0;
}

// Two records at once, committed in the order other than that in which they were reserved.
SEC("socket")
int crosswise(struct __sk_buff* context) {
  __u64* first = bpf_ringbuf_reserve(&ring, 8, 0);
  if (!first) return 1;
  __u64* second = bpf_ringbuf_reserve(&ring, 8, 0);
  if (!second) {
    bpf_ringbuf_discard(first, 0);
    return 1;
  }
  *first = 1;
  *second = 2;
  bpf_ringbuf_submit(second, 0);
  bpf_ringbuf_submit(first, 0);
  return 0;
}

SEC("socket")
int dynptr(struct __sk_buff* context) {
  struct bpf_dynptr record;
  __u64 got = 0;
  result = bpf_ringbuf_reserve_dynptr(&ring, size, flags, &record);
  second_result = bpf_dynptr_write(&record, 8, &value, sizeof value, 0);
  bpf_dynptr_read(&got, sizeof got, &record, 8, 0);
  seen = got;
  __u64* slice = bpf_dynptr_data(&record, 0, sizeof *slice);
  sum = slice != 0;
  if (slice) *slice = 77;
  if (stop_after)
    bpf_ringbuf_discard_dynptr(&record, commit_flags);
  else
    bpf_ringbuf_submit_dynptr(&record, commit_flags);
  return 0;
}

// The error numbers of dynptrs over memory, in the order of the bits of `seen`.
SEC("socket")
int local_dynptr(struct __sk_buff* context) {
  struct bpf_dynptr memory;
  unsigned char out[8] = {};
  __s64 results[8] = {};
  results[0] = bpf_dynptr_from_mem(bytes, 16, 0, &memory);
  results[1] = bpf_dynptr_read(out, 8, &memory, 8, 0);
  results[2] = bpf_dynptr_read(out, 8, &memory, 9, 0);
  results[3] = bpf_dynptr_read(out, 8, &memory, 0, 1);
  results[4] = bpf_dynptr_write(&memory, 16, out, 1, 0);
  results[5] = bpf_dynptr_write(&memory, 0, out, 1, 1);
  results[6] = bpf_dynptr_data(&memory, 9, 8) == 0;
  results[7] = bpf_dynptr_from_mem(bytes, 16, 1, &memory);
  bpf_ringbuf_output(&ring, results, sizeof results, 0);
  return 0;
}

SEC("socket")
int perf_output(struct __sk_buff* context) {
  __u64 length = size;
  if (length > kMaxBytes) return 1;
  result = bpf_perf_event_output(context, &events, flags, bytes, length);
  return 0;
}

static long take_sample(struct bpf_dynptr* sample, void* context) {
  __u64 word = 0;
  seen += 1;
  if (bpf_dynptr_read(&word, sizeof word, sample, 0, 0) == 0) sum += word;
  return seen == stop_after;
}

SEC("socket")
int drain(struct __sk_buff* context) {
  result = bpf_user_ringbuf_drain(&user_ring, take_sample, 0, flags);
  return 0;
}

static long drain_again(struct bpf_dynptr* sample, void* context) {
  second_result = bpf_user_ringbuf_drain(&user_ring, take_sample, 0, 0);
  return 0;
}

SEC("socket")
int drain_twice(struct __sk_buff* context) {
  result = bpf_user_ringbuf_drain(&user_ring, drain_again, 0, 0);
  return 0;
}

char _license[] SEC("license") = "GPL";
