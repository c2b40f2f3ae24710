#pragma once

#include <cstdint>

#include "vm/cpu.hpp"

// How both engines get from a call instruction into a helper, a tail call's target or the packet.
namespace skep::vm {

// The function to call at a site: the helper itself where nothing has to be done before, else a way in that
// reads cpu.run().call_site (and helper_number for calls by register), which the engine has to set then.
HelperFunction helper_entry(const CallSite& site, Mode mode);
bool entry_reads_call_site(const CallSite& site, Mode mode);
// Whether the helper may enter the program again, so that cpu.run().frame_top has to be the caller's r10.
bool may_call_back(const CallSite& site);
// Whether the packet's bounds may be others after the call.
bool may_move_packet(const CallSite& site);

// The program that a tail call leads to, or nullptr: it falls through, or it faulted (ask the CPU).
const Program* tail_call_target(Cpu& cpu, const CallSite& site, uint64_t map, uint64_t index);

// LD_ABS and LD_IND: the bytes in host order, or a negative number when they are not in the packet.
int64_t load_packet(Cpu& cpu, int32_t offset, uint32_t bytes);

}  // namespace skep::vm
