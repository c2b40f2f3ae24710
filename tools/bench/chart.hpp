#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace skep::tools {

// A horizontal bar.
struct Bar {
  std::string name;  // beside it
  std::string css;   // its colour's class
  double value = 0;  // positive
  double low = 0;    // where its whiskers end; the same: none
  double high = 0;
  std::string note;  // behind it
};

struct BarGroup {
  std::string title;
  std::vector<Bar> bars;
};

// Bars in groups over one logarithmic axis, as an SVG element. `tick` writes a power of ten on the axis.
std::string log_chart(const std::vector<BarGroup>& groups, const std::function<std::string(double)>& tick);

// Text as it stands in HTML and SVG.
std::string escaped(const std::string& text);

}  // namespace skep::tools
