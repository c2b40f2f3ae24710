#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "tools/choice.hpp"
#include "tools/command.hpp"
#include "tools/map_dump.hpp"
#include "tools/map_setting.hpp"
#include "tools/record_log.hpp"
#include "tools/run_devices.hpp"
#include "tools/run_input.hpp"
#include "tools/run_session.hpp"

namespace skep::tools {
namespace {

constexpr size_t kBatch = 4096;
// Programs that send records are run on fewer packets at once, so that their rings are read in time.
constexpr size_t kBatchWithRecords = 256;
constexpr auto kProgressInterval = std::chrono::milliseconds(200);

struct RunArguments {
  ObjectArguments object;
  InputArguments input;
  MachineOptions machine;
  std::optional<unsigned> cpu;
  Spread spread = Spread::kFlow;
  unsigned threads = 1;
  uint64_t repeat = 1;
  std::string out_pcap;
  std::vector<std::string> devices;
  std::optional<uint32_t> ingress;
  std::vector<std::string> settings;
  bool dump_maps = false;
  std::vector<std::string> record_types;
  bool keep_going = false;
  bool json = false;
};

// Shows how far a long run is, on a terminal only, and leaves nothing behind.
class Progress {
 public:
  Progress() : enabled_(isatty(STDERR_FILENO) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (shown_) fmt::print(stderr, "\r\033[K");
  }

  void update(const Totals& totals) {
    const auto now = std::chrono::steady_clock::now();
    if (!enabled_ || now - last_ < kProgressInterval) return;
    last_ = now;
    shown_ = true;
    fmt::print(stderr, "\r{} packets, {} runs\033[K", totals.packets, totals.runs);
  }

 private:
  bool enabled_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Packets that a program does not drop go on, as it left them.
bool goes_on(const Program& program, uint64_t return_value) {
  const std::string_view verdict = program.verdict_name(return_value);
  if (program.type() == "xdp") return verdict != "XDP_DROP" && verdict != "XDP_ABORTED" && !verdict.empty();
  if (program.type() == "socket_filter") return return_value != 0;
  return verdict != "TC_ACT_SHOT" && verdict != "TC_ACT_STOLEN" && verdict != "TC_ACT_QUEUED" &&
         verdict != "TC_ACT_TRAP";
}

// One `skep run`: the object loaded, the packets run, the results kept for the report.
class Run {
 public:
  explicit Run(const RunArguments& arguments) : arguments_(arguments) {}

  int execute() {
    for (const auto step : {&Run::prepare, &Run::load, &Run::run_all})
      if (auto done = (this->*step)(); !done) {
        report_error(done.error().message);
        return failure_status_;
      }
    report();
    return session_->totals().fault_count == 0 ? kDone : kRefusedOrFaulted;
  }

 private:
  Result<void> prepare() {
    auto machine = Machine::create(arguments_.machine);
    if (!machine) return std::unexpected(machine.error());
    machine_ = std::move(*machine);
    if (arguments_.cpu && *arguments_.cpu >= machine_->cpus())
      return fail(EINVAL, fmt::format("--cpu {}: the machine has {} CPUs (0 to {}; see --cpus)",
                                      *arguments_.cpu, machine_->cpus(), machine_->cpus() - 1));
    if (auto done = prepare_devices(); !done) return done;
    machine_->set_trace_sink([this](unsigned cpu, std::string_view line) { take_trace(cpu, line); });
    ObjectOptions options = arguments_.object.options();
    for (const std::string& text : arguments_.settings) {
      auto setting = MapSetting::parse(text);
      if (!setting) return std::unexpected(setting.error());
      if (!setting->program.empty()) options.also.push_back(setting->program);
      settings_.push_back(std::move(*setting));
    }
    auto object = machine_->open(arguments_.object.path, options);
    if (!object) return std::unexpected(object.error());
    object_ = std::move(*object);
    auto chosen = choose_program(*object_, arguments_.object);
    if (!chosen) return std::unexpected(chosen.error());
    program_name_ = std::move(*chosen);
    return {};
  }

  Result<void> prepare_devices() {
    const InputArguments& input = arguments_.input;
    auto devices = RunDevices::parse(
        arguments_.devices, {input.pcap, input.data_in, arguments_.out_pcap, arguments_.object.path});
    if (!devices) return std::unexpected(devices.error());
    devices_ = std::move(*devices);
    constexpr uint32_t kLoopback = 1;
    if (arguments_.ingress && *arguments_.ingress != kLoopback && !devices_.has(*arguments_.ingress))
      return fail(EINVAL, fmt::format("--ingress {0}: there is no such device; give --dev {0}=FILE",
                                      *arguments_.ingress));
    return devices_.add_to(*machine_);
  }

  Result<void> load() {
    failure_status_ = kRefusedOrFaulted;
    if (auto loaded = object_->load(); !loaded) return loaded;
    failure_status_ = kBadInput;
    auto program = object_->program(program_name_);
    if (!program) return std::unexpected(program.error());
    program_ = std::move(*program);
    for (const MapSetting& setting : settings_)
      if (auto done = setting.apply(*object_); !done) return done;
    auto log = RecordLog::create(*object_, arguments_.record_types, arguments_.json || arguments_.dump_maps);
    if (!log) return std::unexpected(log.error());
    records_ = std::move(*log);
    if (auto listening = records_->collect(); !listening) return listening;
    return open_files();
  }

  Result<void> open_files() {
    const InputArguments& input = arguments_.input;
    if (input.pcap.empty() && input.data_in.empty() && !input.data && program_->type() != "raw")
      return fail(EINVAL,
                  fmt::format("{}: a program of type {} runs on packets: give --pcap, --data-in or --data",
                              arguments_.object.path, program_->type()));
    auto reader = InputReader::open(input, program_->max_data_size());
    if (!reader) return std::unexpected(reader.error());
    reader_ = std::move(*reader);
    if (auto opened = devices_.open_files(); !opened) return opened;
    if (arguments_.out_pcap.empty()) return {};
    auto writer = PacketWriter::open(arguments_.out_pcap);
    if (!writer) return std::unexpected(writer.error());
    writer_ = std::move(*writer);
    return {};
  }

  Result<void> run_all() {
    session_.emplace(
        *machine_, *program_,
        SessionOptions{arguments_.cpu, arguments_.spread, arguments_.threads, arguments_.repeat,
                       arguments_.keep_going, writer_.has_value() || !devices_.empty(), arguments_.ingress});
    Progress progress;
    while (!session_->stopped()) {
      auto batch = reader_->next_batch(records_->listens() ? kBatchWithRecords : kBatch);
      if (!batch) return std::unexpected(batch.error());
      if (batch->empty()) break;
      auto outcomes = session_->run(*batch);
      if (!outcomes) return std::unexpected(outcomes.error());
      if (auto taken = records_->collect(); !taken) return taken;
      if (auto written = write_out(*batch, *outcomes); !written) return written;
      progress.update(session_->totals());
    }
    if (auto closed = devices_.close(); !closed) return closed;
    return writer_ ? writer_->close() : Result<void>();
  }

  Result<void> write_out(const std::vector<Packet>& batch, const std::vector<Outcome>& outcomes) {
    for (size_t i = 0; i < batch.size(); ++i) {
      const RunResult& result = outcomes[i].result;
      if (auto written = devices_.write(result.forwarding, batch[i].timestamp); !written) return written;
      if (!writer_ || !outcomes[i].ran || result.fault || !goes_on(*program_, result.return_value)) continue;
      const auto* bytes = reinterpret_cast<const uint8_t*>(result.data.data());
      const auto length = static_cast<uint32_t>(result.data.size());
      if (auto written = writer_->write({bytes, length}, length, batch[i].timestamp); !written)
        return written;
    }
    return {};
  }

  void take_trace(unsigned cpu, std::string_view line) {
    if (arguments_.json)
      trace_.emplace_back(line);
    else
      fmt::print("trace cpu {}: {}\n", cpu, line);
  }

  double ns_per_run() const {
    const Totals& totals = session_->totals();
    return totals.runs == 0 ? 0 : static_cast<double>(totals.nanoseconds) / static_cast<double>(totals.runs);
  }

  const char* engine_name() const { return arguments_.machine.engine == Engine::kJit ? "jit" : "interp"; }
  const char* mode_name() const { return arguments_.machine.mode == Mode::kChecked ? "checked" : "verified"; }

  void report() const {
    arguments_.json ? report_json() : report_text();
    const Totals& totals = session_->totals();
    if (totals.too_short != 0)
      fmt::print(stderr, "skep: {} packets without a whole link-layer header were not run\n",
                 totals.too_short);
    const size_t shown = std::min(totals.faults.size(), kShownFaults);
    for (const FaultRecord& record : std::span(totals.faults).first(shown))
      fmt::print(stderr, "skep: {}: program '{}': packet {} on CPU {}: {}\n", arguments_.object.path,
                 program_name_, record.packet, record.cpu, record.fault.message);
    if (totals.fault_count > shown) fmt::print(stderr, "skep: {} faults in all\n", totals.fault_count);
  }

  void report_text() const {
    const Totals& totals = session_->totals();
    fmt::print("program {} (type {}), engine {}, mode {}, {} CPUs\n", program_name_, program_->type(),
               engine_name(), mode_name(), machine_->cpus());
    fmt::print("runs {}, {:.1f} ns per run\n", totals.runs, ns_per_run());
    for (const auto& [verdict, count] : totals.verdicts) fmt::print("  {:<16} {}\n", verdict, count);
    if (totals.fault_count != 0) fmt::print("  {:<16} {}\n", "(faults)", totals.fault_count);
    print_forwarded(totals.forwarded);
    fmt::print("packets per CPU\n");
    for (size_t cpu = 0; cpu < totals.packets_per_cpu.size(); ++cpu)
      if (totals.packets_per_cpu[cpu] != 0) fmt::print("  cpu {:<12} {}\n", cpu, totals.packets_per_cpu[cpu]);
    for (const Map& map : object_->loaded_maps()) fmt::print("{}", records_->text(map));
    if (!arguments_.dump_maps) return;
    for (const Map& map : object_->loaded_maps())
      if (!map.sends_records()) fmt::print("{}", map_as_text(*object_, map));
  }

  static void print_forwarded(const ForwardTally& forwarded) {
    const auto print = [](const char* what, const auto& counts, const char* to) {
      if (!counts.empty()) fmt::print("{}\n", what);
      for (const auto& [key, count] : counts)
        fmt::print("  {:<16} {}\n", fmt::format("{}{}", to, key), count);
    };
    print("redirects", forwarded.redirects, "device ");
    print("sent back", forwarded.transmits, "device ");
    print("redirects to ingress", forwarded.ingress_redirects, "device ");
    print("redirects to CPUs", forwarded.cpu_redirects, "cpu ");
    if (forwarded.dropped != 0) fmt::print("redirects dropped\n  {:<16} {}\n", "(in all)", forwarded.dropped);
    if (forwarded.errors.empty()) return;
    fmt::print("redirects that failed\n");
    for (const auto& [name, count] : forwarded.errors)
      fmt::print("  {:<16} {}  ({})\n", name, count, forwarded.messages.at(name));
  }

  static void add_forwarded(nlohmann::ordered_json& out, const ForwardTally& forwarded) {
    const auto add = [&](const char* name, const auto& counts) {
      out[name] = nlohmann::ordered_json::object();
      for (const auto& [key, count] : counts) out[name][fmt::format("{}", key)] = count;
    };
    add("redirects", forwarded.redirects);
    add("transmits", forwarded.transmits);
    add("ingress_redirects", forwarded.ingress_redirects);
    add("cpu_redirects", forwarded.cpu_redirects);
    out["redirect_drops"] = forwarded.dropped;
    add("redirect_errors", forwarded.errors);
  }

  void report_json() const {
    const Totals& totals = session_->totals();
    nlohmann::ordered_json out{{"program", program_name_}, {"type", program_->type()},
                               {"engine", engine_name()},  {"mode", mode_name()},
                               {"cpus", machine_->cpus()}, {"runs", totals.runs}};
    out["verdicts"] = nlohmann::ordered_json::object();
    for (const auto& [verdict, count] : totals.verdicts) out["verdicts"][verdict] = count;
    out["retval"] = totals.last_return_value;
    add_forwarded(out, totals.forwarded);
    out["ns_per_run"] = ns_per_run();
    out["packets_per_cpu"] = totals.packets_per_cpu;
    out["not_run"] = totals.too_short;
    out["trace"] = trace_;
    out["maps"] = nlohmann::ordered_json::array();
    for (const Map& map : object_->loaded_maps()) {
      auto shown = map_as_json(*object_, map);
      records_->add_to(shown, map);
      out["maps"].push_back(std::move(shown));
    }
    out["faults"] = nlohmann::ordered_json::array();
    for (const FaultRecord& record : totals.faults) out["faults"].push_back(fault_as_json(record));
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  static nlohmann::ordered_json fault_as_json(const FaultRecord& record) {
    const Fault& fault = record.fault;
    return {{"kind", fault.kind},       {"program", fault.program}, {"pc", fault.pc},
            {"file", fault.file},       {"line", fault.line},       {"write", fault.write},
            {"address", fault.address}, {"size", fault.size},       {"packet", record.packet},
            {"cpu", record.cpu},        {"message", fault.message}};
  }

  static constexpr size_t kShownFaults = 10;

  const RunArguments& arguments_;
  int failure_status_ = kBadInput;
  std::vector<std::string> trace_;
  std::optional<Machine> machine_;
  std::optional<Object> object_;
  std::string program_name_;
  std::optional<Program> program_;
  std::optional<InputReader> reader_;
  std::optional<PacketWriter> writer_;
  RunDevices devices_;
  std::vector<MapSetting> settings_;
  std::optional<RunSession> session_;
  std::optional<RecordLog> records_;
};

void add_options(CLI::App& command, RunArguments& a) {
  a.object.add_to(command, true);
  choose_from(command.add_option("--engine", a.machine.engine, "jit (the default) or interp"),
              std::map<std::string, Engine>{{"jit", Engine::kJit}, {"interp", Engine::kInterpreter}});
  choose_from(command.add_option(
                  "--mode", a.machine.mode,
                  "checked (the default): every access is held against the memory the program may touch; "
                  "verified: no checks, only for programs the kernel's verifier accepts"),
              std::map<std::string, Mode>{{"checked", Mode::kChecked}, {"verified", Mode::kVerified}});
  command.add_option("--cpus", a.machine.cpus, "simulated CPUs, 1 to 1024")->capture_default_str();
  command.add_option("--cpu", a.cpu, "run everything on this CPU");
  choose_from(
      command.add_option("--spread", a.spread,
                         "which CPU a packet goes to: flow (by its 5-tuple, the default) or round-robin"),
      std::map<std::string, Spread>{{"flow", Spread::kFlow}, {"round-robin", Spread::kRoundRobin}});
  command.add_option("--threads", a.threads, "host threads that drive the CPUs")
      ->check(CLI::Range(1U, 1024U))
      ->capture_default_str();
  auto* pcap = command.add_option("--pcap", a.input.pcap, "run on each packet of a pcap or pcapng file");
  auto* data_in = command.add_option("--data-in", a.input.data_in, "run on the bytes of a file");
  auto* data = command.add_option("--data", a.input.data, "run on bytes given in hexadecimal");
  pcap->excludes(data_in)->excludes(data);
  data_in->excludes(data);
  command.add_option("--repeat", a.repeat, "run each packet this often, each time on a fresh copy")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--out-pcap", a.out_pcap,
                     "write the packets that were not dropped, as the program left them");
  command
      .add_option("--dev", a.devices,
                  "IFINDEX=FILE: a device, and the capture to write what it sends to; may be repeated")
      ->allow_extra_args(false);
  command.add_option("--ingress", a.ingress,
                     "the device that packets come by and XDP_TX sends them back by (1, the loopback "
                     "device, unless --dev makes it another)");
  command
      .add_option("--set", a.settings,
                  "MAP:KEY=VALUE[@PROGRAM]: an element that a map has before the first run, in numbers; "
                  "PROGRAM is what elements of device and CPU maps run; may be repeated")
      ->allow_extra_args(false);
  command.add_flag("--dump-maps", a.dump_maps,
                   "show what the program left in its maps, and the records it sent");
  command
      .add_option(
          "--record-type", a.record_types,
          "MAP=TYPE: show the records of a ring buffer or perf event array by a type of the object's BTF; "
          "may be repeated")
      ->allow_extra_args(false);
  command.add_option("--seed", a.machine.seed,
                     "fix clock, random numbers and hash seeds: equal runs, equal results");
  command
      .add_option("--fuel", a.machine.fuel, "about how many instructions a run may execute in checked mode")
      ->capture_default_str();
  command
      .add_option("--without-pass", a.machine.without_passes,
                  "leave an optimisation out, to find the one a wrong result comes from; may be repeated")
      ->check(CLI::IsMember(pass_names()))
      ->allow_extra_args(false);
  add_jit_options(command, a.machine);
  command.add_flag("--keep-going", a.keep_going, "go on with the next packet after a fault");
  command.add_flag("--json", a.json, "print one JSON object, maps included");
}

}  // namespace

void add_run_command(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("run", "run a program on packets or memory, on simulated CPUs");
  auto arguments = std::make_shared<RunArguments>();
  add_options(*command, *arguments);
  command->callback([arguments, &status] { status = Run(*arguments).execute(); });
}

}  // namespace skep::tools
