#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <optional>

#include "tools/bench/kernel_contestant.hpp"
#include "tools/bench/measure.hpp"
#include "tools/bench/native_contestant.hpp"
#include "tools/bench/output.hpp"
#include "tools/bench/report_file.hpp"
#include "tools/bench/skep_contestant.hpp"
#include "tools/choice.hpp"
#include "tools/command.hpp"
#include "tools/run_input.hpp"

namespace skep::tools {
namespace {

constexpr size_t kAllPackets = 1 << 20;
constexpr double kNoisy = 0.10;  // how far a fixed loop's times may lie apart

enum class Kind : uint8_t { kInterpreter, kJit, kKernel };

struct BenchArguments {
  ObjectArguments object;
  InputArguments input;
  MachineOptions machine;
  std::vector<Kind> engines;  // empty: all
  std::string native;
  MeasureOptions measure;
  std::string command_line;
  std::string report;  // empty: none
  bool json = false;
};

// One line on a terminal, which the next takes the place of; nothing elsewhere.
class ProgressLine {
 public:
  ProgressLine() : enabled_(isatty(STDERR_FILENO) == 1) {}
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { show(""); }
  void show(const std::string& text) const {
    if (enabled_) fmt::print(stderr, "\r{}\033[K", text);
  }

 private:
  bool enabled_;
};

// One `skep bench`: the programs loaded into the engines, held against each other, timed, reported.
class Bench {
 public:
  explicit Bench(const BenchArguments& arguments) : arguments_(arguments) {}

  int execute() {
    for (const auto step : {&Bench::create_report, &Bench::list, &Bench::prepare, &Bench::compare,
                            &Bench::time, &Bench::write_report})
      if (auto done = (this->*step)(); !done) {
        report_error(done.error().message);
        return failure_status_;
      }
    return report();
  }

 private:
  // Before anything is timed: what could not be written would be lost.
  Result<void> create_report() {
    if (arguments_.report.empty()) return {};
    auto file = ReportFile::create(arguments_.report);
    if (!file) return std::unexpected(file.error());
    report_file_.emplace(std::move(*file));
    return {};
  }

  Result<void> list() {
    const auto machine = Machine::create();
    if (!machine) return std::unexpected(machine.error());
    const auto object = machine->open(arguments_.object.path, arguments_.object.options());
    if (!object) return std::unexpected(object.error());
    programs_ = object->programs();
    if (!arguments_.object.program.empty()) {
      auto chosen = choose_program(*object, arguments_.object);
      if (!chosen) return std::unexpected(chosen.error());
      std::erase_if(programs_, [&](const ProgramInfo& program) { return program.name != *chosen; });
    }
    if (programs_.empty()) return fail(ENOENT, arguments_.object.path + ": the object has no program");
    return leave_out_what_cannot_run();
  }

  Result<void> leave_out_what_cannot_run() {
    std::string types;
    std::erase_if(programs_, [&](const ProgramInfo& program) {
      if (program.can_run) return false;
      types = program.type;
      notes_.push_back(fmt::format("program '{}' is left out: skep does not run programs of type {}",
                                   program.name, program.type));
      return true;
    });
    if (programs_.empty())
      return fail(ENOTSUP, fmt::format("{}: no program to time: skep does not run programs of type {}",
                                       arguments_.object.path, types));
    if (!arguments_.native.empty() && programs_.size() > 1)
      return fail(EINVAL, "--native: which program is it? The object has several; name one with --prog");
    return {};
  }

  Result<void> prepare() {
    for (const ProgramInfo& program : programs_) {
      Contest contest;
      contest.result.name = program.name;
      contest.result.type = program.type;
      ObjectArguments object = arguments_.object;
      object.program = program.name;
      if (auto done = add_skep(contest, object); !done) return done;
      if (asked_for(Kind::kKernel)) add_kernel(contest, object);
      if (!arguments_.native.empty()) {
        auto native = NativeContestant::open(arguments_.native, program.type != "raw");
        if (!native) return std::unexpected(native.error());
        contest.contestants.push_back(std::move(*native));
      }
      if (contest.contestants.empty())
        return fail(ENOTSUP, fmt::format("program '{}': nothing can run it", program.name));
      contests_.push_back(std::move(contest));
    }
    return {};
  }

  // A machine without the engine is asked too what the program may be run on.
  Result<void> add_skep(Contest& contest, const ObjectArguments& object) {
    failure_status_ = kRefusedOrFaulted;
    for (const auto& [kind, engine] :
         {std::pair(Kind::kInterpreter, Engine::kInterpreter), std::pair(Kind::kJit, Engine::kJit)}) {
      MachineOptions options = arguments_.machine;
      options.engine = engine;
      const bool wanted = asked_for(kind);
      if (!wanted && kind != Kind::kInterpreter) continue;
      auto loaded = SkepContestant::load(object, options);
      if (!loaded) return std::unexpected(loaded.error());
      if (contest.inputs.empty()) {
        contest.result.instructions = (*loaded)->program().instructions();
        failure_status_ = kBadInput;
        if (auto read = read_inputs(contest, (*loaded)->program()); !read) return read;
        failure_status_ = kRefusedOrFaulted;
      }
      if (wanted) contest.contestants.push_back(std::move(*loaded));
    }
    failure_status_ = kBadInput;
    return {};
  }

  Result<void> read_inputs(Contest& contest, const Program& program) const {
    const InputArguments& input = arguments_.input;
    if (input.pcap.empty() && input.data_in.empty() && !input.data && program.type() != "raw")
      return fail(EINVAL,
                  fmt::format("{}: a program of type {} runs on packets: give --pcap, --data-in or --data",
                              arguments_.object.path, program.type()));
    auto reader = InputReader::open(input, program.max_data_size());
    if (!reader) return std::unexpected(reader.error());
    for (;;) {
      auto batch = reader->next_batch(kAllPackets);
      if (!batch) return std::unexpected(batch.error());
      if (batch->empty()) break;
      std::ranges::move(*batch, std::back_inserter(contest.inputs));
    }
    if (contest.inputs.empty()) return fail(EINVAL, fmt::format("{}: no packets in it", input.pcap));
    return {};
  }

  void add_kernel(Contest& contest, const ObjectArguments& object) {
    auto loaded = KernelContestant::load(object, contest.result.type);
    if (loaded) {
      contest.contestants.push_back(std::move(*loaded));
      return;
    }
    lacks_kernel_ = true;
    const std::string cause = loaded.error().message;
    contest.result.absences.push_back({"kernel", cause});
    fmt::print(stderr, "skep: program '{}': not timed in the kernel: {}\n", contest.result.name, cause);
  }

  Result<void> compare() {
    for (Contest& contest : contests_)
      if (auto same = hold_against_each_other(contest); !same) {
        failure_status_ = same.error().code == EINVAL ? kBadInput : kRefusedOrFaulted;
        return same;
      }
    return {};
  }

  Result<void> time() {
    failure_status_ = kRefusedOrFaulted;
    const ProgressLine line;
    line.show("warming up");
    const auto show = [&](unsigned round) {
      line.show(fmt::format("round {} of {}", round + 1, arguments_.measure.rounds));
    };
    return measure(contests_, arguments_.measure, show, calibration_);
  }

  bool asked_for(Kind kind) const {
    return arguments_.engines.empty() ||
           std::ranges::find(arguments_.engines, kind) != arguments_.engines.end();
  }

  BenchResult result() const {
    BenchResult out;
    out.object = arguments_.object.path;
    out.mode = arguments_.machine.mode == Mode::kChecked ? "checked" : "verified";
    out.command_line = arguments_.command_line;
    out.date = utc_now();
    out.host = this_host();
    out.rounds = arguments_.measure.rounds;
    out.min_seconds = arguments_.measure.min_seconds;
    out.packets = !arguments_.input.pcap.empty();
    out.calibration = calibration_;
    out.noisy = relative_spread(calibration_) > kNoisy;
    for (const Contest& contest : contests_) out.programs.push_back(contest.result);
    out.notes = notes_;
    add_warnings(out);
    return out;
  }

  static void add_warnings(BenchResult& out) {
    if (out.noisy)
      out.notes.push_back(
          fmt::format("the machine is noisy: a fixed loop took up to {:.0f}% more than at its fastest; small "
                      "differences say nothing",
                      100 * relative_spread(out.calibration)));
    if (out.rounds < 5)
      out.notes.emplace_back("with fewer than 5 rounds nothing says how sure these times are");
    if (!out.host.optimised)
      out.notes.emplace_back(
          "this skep was built without optimisation or with sanitizers; build it with "
          "cmake --preset release to measure");
  }

  Result<void> write_report() {
    failure_status_ = kBadInput;
    return report_file_ ? report_file_->commit(bench_as_html(result())) : Result<void>{};
  }

  int report() {
    const BenchResult all = result();
    fmt::print("{}", arguments_.json ? bench_as_json(all) : bench_as_text(all));
    std::fflush(stdout);
    return lacks_kernel_ && !arguments_.engines.empty() ? kRefusedOrFaulted : kDone;
  }

  const BenchArguments& arguments_;
  int failure_status_ = kBadInput;
  std::vector<ProgramInfo> programs_;
  std::vector<Contest> contests_;
  std::vector<std::string> notes_;
  Spread calibration_;
  std::optional<ReportFile> report_file_;
  bool lacks_kernel_ = false;
};

constexpr const char* kFooter =
    "What is timed is one run of the program on one packet, or on its memory; with --pcap the mean over\n"
    "the file's packets, run in order again and again.\n"
    "  interp, jit   a run of the library's Runner, which keeps the CPU: a fresh copy of the packet or\n"
    "                memory put in place, and the program\n"
    "  native        a fresh copy of the memory, and the call of the function\n"
    "  kernel        what BPF_PROG_TEST_RUN says, in whole nanoseconds: the program alone, no set-up. It\n"
    "                repeats a packet, as the run before left it, before it goes on to the next. Loading\n"
    "                needs root; maps of the object are not pinned, and nothing is attached\n"
    "Times are of the thread's CPU, the kernel's of its clock. Maps keep what runs leave in them: state is\n"
    "warm. Before anything is timed each input is run once in every engine; return values and memory have\n"
    "to agree.\n"
    "Exit status: 0 done; 1 engines disagree, the program was refused or faulted, or the kernel was asked\n"
    "for with --engines and cannot run it; 2 bad usage or bad input.";

void add_input_options(CLI::App& command, BenchArguments& a) {
  auto* pcap = command.add_option("--pcap", a.input.pcap, "run on the packets of a pcap or pcapng file");
  auto* data_in = command.add_option("--data-in", a.input.data_in, "run on the bytes of a file");
  auto* data = command.add_option("--data", a.input.data, "run on bytes given in hexadecimal");
  pcap->excludes(data_in)->excludes(data);
  data_in->excludes(data);
}

void add_engine_options(CLI::App& command, BenchArguments& a) {
  choose_from(
      command
          .add_option(
              "--engines", a.engines,
              "which of interp, jit and kernel, separated by commas; all that are possible when not given")
          ->delimiter(','),
      std::map<std::string, Kind>{
          {"interp", Kind::kInterpreter}, {"jit", Kind::kJit}, {"kernel", Kind::kKernel}});
  command.add_option("--native", a.native,
                     "SHARED_OBJECT:SYMBOL, the same program as native code: uint64_t SYMBOL(void *memory, "
                     "uint64_t length)");
  choose_from(command.add_option(
                  "--mode", a.machine.mode,
                  "checked: every access is held against the memory the program may touch; verified: no "
                  "checks, only for programs the kernel's verifier accepts (the default as of skep run)"),
              std::map<std::string, Mode>{{"checked", Mode::kChecked}, {"verified", Mode::kVerified}});
  command.add_option("--cpus", a.machine.cpus, "simulated CPUs; the program runs on CPU 0")
      ->capture_default_str();
  command.add_option("--seed", a.machine.seed, "fix clock, random numbers and hash seeds");
  add_jit_options(command, a.machine);
}

void add_options(CLI::App& command, BenchArguments& a) {
  a.object.add_to(command, true);
  add_input_options(command, a);
  add_engine_options(command, a);
  command.add_option("--rounds", a.measure.rounds, "how often each engine has its turn; the median counts")
      ->check(CLI::Range(1U, 100000U))
      ->capture_default_str();
  command.add_option("--min-time", a.measure.min_seconds, "seconds of a turn, about")
      ->check(CLI::Range(0.0001, 3600.0))
      ->capture_default_str();
  command.add_flag("--json", a.json, "print one JSON object");
  command.add_option("--report", a.report,
                     "write the results, with plots, to a file: one HTML page that needs nothing else");
  command.footer(kFooter);
}

}  // namespace

void add_bench_command(CLI::App& app, const std::string& command_line, int& status) {
  CLI::App* command = app.add_subcommand(
      "bench", "time programs in the interpreter, the JIT, the host's kernel and as native code");
  auto arguments = std::make_shared<BenchArguments>();
  arguments->command_line = command_line;
  add_options(*command, *arguments);
  command->callback([arguments, &status] { status = Bench(*arguments).execute(); });
}

}  // namespace skep::tools
