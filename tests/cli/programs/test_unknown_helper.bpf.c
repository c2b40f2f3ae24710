#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

static long (*nobody)(void) = (void*)4711;

SEC("xdp") int calls_nobody(struct xdp_md* ctx) { return nobody(); }

char LICENSE[] SEC("license") = "GPL";
