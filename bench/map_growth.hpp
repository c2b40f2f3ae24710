#pragma once

namespace skep::bench {

// bench_maps --growth: costs by the number of entries and of simulated CPUs, memory by entry, and what it
// costs to empty a map. After initialize().
void measure_growth(bool as_markdown);

}  // namespace skep::bench
