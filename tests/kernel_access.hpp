#pragma once

namespace skep::test {

// Whether the host's kernel lets this process load programs; errno says why not.
bool kernel_allows_bpf();

}  // namespace skep::test
