#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "bench/measure.hpp"

int main(int argc, char** argv) try {
  return skep::bench::measure(argc, argv);
} catch (const std::exception& error) {
  fmt::print(stderr, "{}\n", error.what());
  return 1;
}
