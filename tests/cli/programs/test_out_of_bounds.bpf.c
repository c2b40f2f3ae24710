#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

// Reads behind the packet: no check against data_end.
SEC("xdp") int overreads(struct xdp_md* ctx) { return *(volatile __u32*)(long)ctx->data_end; }

char LICENSE[] SEC("license") = "GPL";
