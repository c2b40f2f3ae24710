#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "samples/frame.hpp"

namespace skep::samples {

// Random numbers that are the same everywhere: the generator is specified to the bit, and the distributions
// of the standard library, which are not, stay out of it.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // A number from 0 to bound - 1. For small bounds: the remainder is not corrected for its slight bias.
  uint64_t below(uint64_t bound) { return engine_() % bound; }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  Bytes bytes(uint64_t count);

 private:
  std::mt19937_64 engine_;
};

// A client and a server that talk over and over, so that flows have more than one packet.
struct Conversation {
  Endpoint client;
  Endpoint server;
};

// What frames are made from.
struct Source {
  Random random;
  std::vector<Conversation> ipv4;
  std::vector<Conversation> ipv6;
};

struct CapturedFrame {
  Bytes bytes;
  size_t original_length = 0;  // larger than bytes.size() where the frame was cut short
};

// A stream of Ethernet frames of all kinds: whole and cut short, of both IP versions, tagged, with options,
// in fragments. The same seed gives the same frames.
class TrafficMix {
 public:
  // Frames are at least 15 bytes long; with `runts`, some are cut inside the Ethernet header too.
  explicit TrafficMix(uint64_t seed, bool runts = false);

  CapturedFrame next();

 private:
  void refill();

  Source source_;
  bool runts_;
  std::vector<CapturedFrame> pending_;  // frames already made, the next one last
};

}  // namespace skep::samples
