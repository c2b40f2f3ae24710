/* bpf(2) over a skep machine, for C. */
#ifndef SKEP_BPF_H
#define SKEP_BPF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

union bpf_attr;
struct skep_machine;

/*
 * A machine with `cpus` simulated CPUs (1 to 1024), with skep's default engine in checked mode. A seed other
 * than 0 fixes its clock and random numbers. NULL with errno set: EINVAL, ENOMEM.
 */
struct skep_machine* skep_machine_new(unsigned int cpus, uint64_t seed);

/* Frees a machine. Descriptors that bpf() handed out stay open and mean nothing afterwards. */
void skep_machine_free(struct skep_machine* machine);

/*
 * The bpf(2) system call on the machine: `cmd` and `attr` as linux/bpf.h has them, `size` the size of *attr.
 * Returns what the kernel returns, or -1 with errno set. Thread-safe.
 */
long skep_bpf(struct skep_machine* machine, int cmd, union bpf_attr* attr, unsigned int size);

#ifdef __cplusplus
}
#endif

#endif
