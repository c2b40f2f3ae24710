#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "skep/machine.hpp"
#include "tools/packet_file.hpp"
#include "tools/run_devices.hpp"

namespace skep::tools {

enum class Spread : uint8_t { kFlow, kRoundRobin };

struct SessionOptions {
  std::optional<unsigned> cpu;  // every run on this CPU; else spread
  Spread spread = Spread::kFlow;
  unsigned threads = 1;     // host threads; each drives the CPUs whose number is its own modulo threads
  uint64_t repeat = 1;      // runs of each packet, each on a fresh copy
  bool keep_going = false;  // past a fault
  bool want_output = false;
  std::optional<uint32_t> ingress;  // the device that packets come by
};

struct FaultRecord {
  Fault fault;
  uint64_t packet = 0;  // counted from 1
  unsigned cpu = 0;
};

// What all runs so far came to.
struct Totals {
  uint64_t runs = 0;
  uint64_t packets = 0;
  uint64_t too_short = 0;  // packets that lack a link-layer header: no device delivers them
  uint64_t fault_count = 0;
  uint64_t last_return_value = 0;
  uint64_t nanoseconds = 0;
  std::map<std::string, uint64_t> verdicts;
  std::vector<uint64_t> packets_per_cpu;
  std::vector<FaultRecord> faults;  // the first kMaxFaults
  ForwardTally forwarded;
};

// A packet after its run.
struct Outcome {
  bool ran = false;
  RunResult result;
  ForwardTally forwarded;  // of all its runs
};

// Runs a program over batches of packets on the machine's CPUs. Which CPU a packet goes to, and the order of
// the packets on each CPU, do not depend on the number of threads.
class RunSession {
 public:
  static constexpr size_t kMaxFaults = 1000;

  RunSession(const Machine& machine, const Program& program, const SessionOptions& options);

  // The outcomes, packet for packet. Ends early after a fault unless told to keep going; stopped() says so.
  Result<std::vector<Outcome>> run(const std::vector<Packet>& batch);

  const Totals& totals() const { return totals_; }
  bool stopped() const { return totals_.fault_count != 0 && !options_.keep_going; }

 private:
  unsigned choose_cpu(const Packet& packet);
  void run_on_thread(unsigned thread, const std::vector<Packet>& batch, std::vector<Outcome>& outcomes,
                     std::optional<Error>& error) const;
  std::optional<Error> run_packet(const Packet& packet, unsigned cpu, Outcome& outcome) const;
  void account(const Outcome& outcome, unsigned cpu);
  std::string verdict_of(uint64_t return_value) const;

  const Machine& machine_;
  const Program& program_;
  SessionOptions options_;
  Totals totals_;
  unsigned next_cpu_ = 0;
  std::vector<unsigned> cpus_of_batch_;
};

}  // namespace skep::tools
