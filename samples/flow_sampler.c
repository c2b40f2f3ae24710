// flow_sampler as native code, for `skep bench --native`.

#include "flow_sampler.h"

unsigned long flow_sampler(void* memory, unsigned long length) {
  return (unsigned long)sample_flow(memory, memory + length);
}
