#pragma once

namespace skep::bench {

// What a benchmark binary does; the one thing that each defines. Returns its exit status; what it throws is
// reported, and the status is 1.
int measure(int argc, char** argv);

}  // namespace skep::bench
