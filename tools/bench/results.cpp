#include "tools/bench/results.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skep::tools {

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

const EngineResult* ProgramResult::find(const std::string& engine) const {
  const auto found = std::ranges::find(engines, engine, &EngineResult::engine);
  return found == engines.end() ? nullptr : &*found;
}

const EngineResult& ProgramResult::baseline() const {
  for (const char* name : {"native", "kernel"})
    if (const EngineResult* result = find(name)) return *result;
  return *std::ranges::min_element(engines, {}, [](const EngineResult& r) { return r.nanoseconds.median; });
}

double relative_spread(const Spread& spread) { return spread.min > 0 ? spread.max / spread.min - 1 : 0; }

std::string duration_text(double nanoseconds) {
  struct Unit {
    double size;
    const char* name;
  };
  constexpr Unit kUnits[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}};
  for (const Unit& unit : kUnits)
    if (nanoseconds >= unit.size * 0.9995)
      return fmt::format("{:.3g} {}", nanoseconds / unit.size, unit.name);
  return fmt::format("{:.3g} ns", nanoseconds);
}

std::string ratio_text(double ratio) {
  if (ratio >= 99.95) return fmt::format("{:.0f}×", ratio);
  return ratio >= 9.995 ? fmt::format("{:.1f}×", ratio) : fmt::format("{:.2f}×", ratio);
}

}  // namespace skep::tools
