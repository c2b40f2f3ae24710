#include "tools/bench/output.hpp"
namespace skep::tools {
std::string bench_as_html(const BenchResult&) { return {}; }
}  // namespace skep::tools
