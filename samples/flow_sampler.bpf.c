// Passes one flow in eight and drops the others.

#include "flow_sampler.h"

SEC("xdp")
int flow_sampler(struct xdp_md* context) {
  return sample_flow((void*)(long)context->data, (void*)(long)context->data_end);
}

char LICENSE[] SEC("license") = "GPL";
