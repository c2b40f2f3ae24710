#include <linux/bpf.h>
#include <skep/bpf.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  struct skep_machine* machine = skep_machine_new(2, 1);
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.map_type = BPF_MAP_TYPE_ARRAY;
  attr.key_size = 4;
  attr.value_size = 8;
  attr.max_entries = 3;
  long fd = skep_bpf(machine, BPF_MAP_CREATE, &attr, sizeof attr);
  printf("%s\n", fd >= 0 ? "made" : "refused");
  skep_machine_free(machine);
  return fd >= 0 ? 0 : 1;
}
