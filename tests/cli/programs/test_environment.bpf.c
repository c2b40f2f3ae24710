#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// A return value made of all that a seed fixes.
SEC("xdp") int mixes(struct xdp_md* ctx) {
  return bpf_get_prandom_u32() ^ (__u32)bpf_ktime_get_ns() ^ (__u32)bpf_get_current_pid_tgid();
}

char LICENSE[] SEC("license") = "GPL";
