#pragma once

#include <cstdint>

namespace skep::vm {
class Cpu;
}

// The functions that the helper table names, in the form the engines call.
namespace skep::helpers {

#define SKEP_HELPER(name) \
  uint64_t name(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, vm::Cpu& cpu)

// map.cpp
SKEP_HELPER(map_lookup_elem);
SKEP_HELPER(map_update_elem);
SKEP_HELPER(map_delete_elem);
SKEP_HELPER(map_push_elem);
SKEP_HELPER(map_pop_elem);
SKEP_HELPER(map_peek_elem);
SKEP_HELPER(map_lookup_percpu_elem);
SKEP_HELPER(for_each_map_elem);

// ring_buffer.cpp
SKEP_HELPER(ringbuf_output);
SKEP_HELPER(ringbuf_reserve);
SKEP_HELPER(ringbuf_submit);
SKEP_HELPER(ringbuf_discard);
SKEP_HELPER(ringbuf_query);
SKEP_HELPER(ringbuf_reserve_dynptr);
SKEP_HELPER(ringbuf_submit_dynptr);
SKEP_HELPER(ringbuf_discard_dynptr);
SKEP_HELPER(user_ringbuf_drain);

// perf_event.cpp
SKEP_HELPER(perf_event_output);

// cgroup.cpp
SKEP_HELPER(current_task_under_cgroup);
SKEP_HELPER(skb_under_cgroup);

// stack_trace.cpp
SKEP_HELPER(get_stackid);
SKEP_HELPER(get_stack);

// dynptr.cpp
SKEP_HELPER(dynptr_from_mem);
SKEP_HELPER(dynptr_read);
SKEP_HELPER(dynptr_write);
SKEP_HELPER(dynptr_data);

// value_fields.cpp
SKEP_HELPER(spin_lock);
SKEP_HELPER(spin_unlock);
SKEP_HELPER(timer_init);
SKEP_HELPER(timer_set_callback);
SKEP_HELPER(timer_start);
SKEP_HELPER(timer_cancel);
SKEP_HELPER(kptr_xchg);

// environment.cpp
SKEP_HELPER(ktime_get_ns);
SKEP_HELPER(ktime_get_boot_ns);
SKEP_HELPER(ktime_get_coarse_ns);
SKEP_HELPER(jiffies64);
SKEP_HELPER(get_prandom_u32);
SKEP_HELPER(get_smp_processor_id);
SKEP_HELPER(get_numa_node_id);
SKEP_HELPER(get_current_pid_tgid);
SKEP_HELPER(get_current_comm);

// local_storage.cpp
SKEP_HELPER(get_current_task);
SKEP_HELPER(task_storage_get);
SKEP_HELPER(task_storage_delete);
SKEP_HELPER(sk_storage_get);
SKEP_HELPER(sk_storage_delete);
SKEP_HELPER(sk_fullsock);
SKEP_HELPER(get_socket_cookie);

// control.cpp
SKEP_HELPER(loop);

// string.cpp
SKEP_HELPER(strncmp);
SKEP_HELPER(trace_printk);
SKEP_HELPER(trace_vprintk);
SKEP_HELPER(snprintf);

// packet.cpp
SKEP_HELPER(xdp_adjust_head);
SKEP_HELPER(xdp_adjust_tail);
SKEP_HELPER(xdp_adjust_meta);
SKEP_HELPER(skb_load_bytes);
SKEP_HELPER(csum_diff);

// redirect.cpp
SKEP_HELPER(redirect);
SKEP_HELPER(redirect_map);

#undef SKEP_HELPER

// An error number as a helper returns it: negative, in all 64 bits.
inline uint64_t error(int code) { return static_cast<uint64_t>(-static_cast<int64_t>(code)); }

}  // namespace skep::helpers
