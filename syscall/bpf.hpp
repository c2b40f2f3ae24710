#pragma once

#include <linux/bpf.h>

#include <memory>
#include <optional>
#include <string>

#include "maps/map.hpp"
#include "vm/machine.hpp"
#include "vm/program.hpp"

struct perf_event_attr;

namespace skep::sys {

// bpf(2) over a machine: the kernel's commands with its semantics, and -errno where the kernel fails. `size`
// is the size of the caller's union bpf_attr, handled as the kernel's bpf_check_uarg_tail_zero does. Pointers
// in the attributes that point nowhere give -EFAULT. Thread-safe.
//
// Descriptors are real ones (a memfd each, named "bpf-map", "bpf-prog", "btf" or "bpf-link"), resolved by
// inode: close, dup, fcntl and mmap work on them. An object lives as long as a descriptor, a pin, a map or a
// program refers to it; objects nobody refers to are found when objects are made, listed or looked up by id.
long bpf(vm::Machine& machine, int command, union bpf_attr* attributes, unsigned size);

// The object behind a descriptor; nullptr: none, or of another kind.
std::shared_ptr<maps::Map> map_of_descriptor(vm::Machine& machine, int descriptor);
std::shared_ptr<vm::Program> program_of_descriptor(vm::Machine& machine, int descriptor);

// Removes a pinned path, as unlink(2) on bpffs does; false: nothing is pinned there.
bool unpin(vm::Machine& machine, const char* path);

// What the kernel's /proc/self/fdinfo says of a descriptor of the machine's, a line a field; nullopt: it is
// none of the machine's.
std::optional<std::string> descriptor_info(vm::Machine& machine, int descriptor);

// perf_event_open(2) for what bpf_perf_event_output writes to: a software event of PERF_COUNT_SW_BPF_OUTPUT
// on one of the machine's CPUs, for all tasks, with PERF_SAMPLE_RAW and nothing else in its samples. A
// descriptor or a negative error number; nullopt: another event, which is no concern of the machine's.
std::optional<int> perf_event_open(vm::Machine& machine, const perf_event_attr* attributes, int task, int cpu,
                                   int group);
// ioctl(2) on such an event: PERF_EVENT_IOC_ENABLE, _DISABLE. nullopt: the descriptor is none.
std::optional<int> perf_event_control(vm::Machine& machine, int descriptor, unsigned long request);
// To be called before mmap(2) of a descriptor: makes the ring of such an event. 0, also for other
// descriptors, or a negative error number.
int before_mapping(vm::Machine& machine, int descriptor, size_t length, long offset);

// What epoll_ctl(2) is to be told in place of a descriptor. The kernel's epoll can wait for ring buffers, but
// not for a file of memory: an eventfd of the map's takes its place. Other descriptors are their own.
struct WaitTarget {
  int descriptor = -1;
  uint32_t foreign_events = 0;  // that the kernel's map never has: not to be waited for
};
WaitTarget wait_target(vm::Machine& machine, int descriptor);
// To be called before each epoll_wait(2) and its like: what is ready then is ready in the kernel, too.
void before_waiting(vm::Machine& machine);

}  // namespace skep::sys
