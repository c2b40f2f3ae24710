#pragma once

#include <string>

#include "tools/bench/results.hpp"

namespace skep::tools {

std::string bench_as_text(const BenchResult& result);
std::string bench_as_json(const BenchResult& result);
std::string bench_as_html(const BenchResult& result);

}  // namespace skep::tools
