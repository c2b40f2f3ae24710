#include <cstddef>
#include <cstdint>

#include "fuzz/target.hpp"

// What libFuzzer calls for each input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  skep::fuzz::run_input({data, size});
  return 0;
}
