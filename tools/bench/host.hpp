#pragma once

#include <string>

namespace skep::tools {

// What a measurement was made on and with.
struct Host {
  std::string cpu;        // its model
  unsigned cpus = 0;      // how many are online
  std::string kernel;     // name and release
  std::string skep;       // version
  std::string compiler;   // that skep was built with
  bool optimised = true;  // whether it was built to be fast
};
Host this_host();

// Now, in UTC: 2026-01-31T12:00:00Z.
std::string utc_now();

}  // namespace skep::tools
