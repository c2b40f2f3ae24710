#include "tools/bench/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace skep::tools {
namespace {

// Lengths in the SVG's own unit, a pixel at full size.
constexpr double kWidth = 920;
constexpr double kLeft = 90;    // names of bars
constexpr double kRight = 170;  // notes behind bars
constexpr double kTop = 8;
constexpr double kAxis = 26;
constexpr double kTitle = 28;
constexpr double kBar = 16;
constexpr double kBarStep = 22;
constexpr double kGroupGap = 10;

// A logarithmic scale from a power of ten to another.
class LogScale {
 public:
  LogScale(double low, double high)
      : low_(std::floor(std::log10(low) - 1e-9)), high_(std::max(std::ceil(std::log10(high)), low_ + 1)) {}

  int first() const { return static_cast<int>(low_); }
  int last() const { return static_cast<int>(high_); }
  double x(double value) const {
    const double part = (std::log10(value) - low_) / (high_ - low_);
    return kLeft + std::clamp(part, 0.0, 1.0) * (kWidth - kLeft - kRight);
  }

 private:
  double low_;
  double high_;
};

LogScale scale_of(const std::vector<BarGroup>& groups) {
  double low = std::numeric_limits<double>::max();
  double high = 0;
  for (const BarGroup& group : groups)
    for (const Bar& bar : group.bars) {
      low = std::min(low, bar.low);
      high = std::max(high, bar.high);
    }
  return {low, high};
}

std::string axis(const LogScale& scale, double bottom, const std::function<std::string(double)>& tick) {
  std::string out;
  for (int power = scale.first(); power <= scale.last(); ++power) {
    const double value = std::pow(10, power);
    const double x = scale.x(value);
    out += fmt::format("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>", x, kTop,
                       bottom);
    out += fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{}\">{}</text>\n", x, bottom + 16,
                       escaped(tick(value)));
  }
  return out;
}

std::string whiskers(const Bar& bar, const LogScale& scale, double y) {
  if (bar.high <= bar.low) return {};
  const double low = scale.x(bar.low);
  const double high = scale.x(bar.high);
  return fmt::format("<path class=\"spread\" d=\"M{0:.1f} {2}V{4}M{1:.1f} {2}V{4}M{0:.1f} {3}H{1:.1f}\"/>",
                     low, high, y + 4, y + kBar / 2, y + kBar - 4);
}

std::string bar_text(const Bar& bar, const LogScale& scale, double y) {
  const double end = scale.x(bar.value);
  const double middle = y + kBar / 2;
  std::string out =
      fmt::format("<text class=\"name\" x=\"{}\" y=\"{}\">{}</text>", kLeft - 8, middle, escaped(bar.name));
  out += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>", bar.css, kLeft,
                     y, std::max(end - kLeft, 1.0), kBar);
  out += whiskers(bar, scale, y);
  out += fmt::format("<text class=\"note\" x=\"{:.1f}\" y=\"{}\">{}</text>\n",
                     std::max(end, scale.x(bar.high)) + 8, middle, escaped(bar.note));
  return out;
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string log_chart(const std::vector<BarGroup>& groups, const std::function<std::string(double)>& tick) {
  const LogScale scale = scale_of(groups);
  std::string bars;
  double y = kTop;
  for (const BarGroup& group : groups) {
    bars += fmt::format("<text class=\"title\" x=\"{}\" y=\"{}\">{}</text>\n", kLeft, y + kTitle / 2 - 2,
                        escaped(group.title));
    y += kTitle;
    for (const Bar& bar : group.bars) {
      bars += bar_text(bar, scale, y);
      y += kBarStep;
    }
    y += kGroupGap;
  }
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n{}{}</svg>\n", kWidth, y + kAxis,
                     axis(scale, y, tick), bars);
}

}  // namespace skep::tools
