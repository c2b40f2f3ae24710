#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "skep/error.hpp"
#include "skep/forwarding.hpp"

struct btf;  // libbpf's

// The library's front door: make a Machine, open an Object in it, find a Program and a Map, run the program
// on a simulated CPU, read what it left in the map.
//
//   auto machine = skep::Machine::create({.cpus = 4});
//   auto object = machine->open("flow_counter.bpf.o");
//   object->load();
//   auto program = object->program("count_flows");
//   auto result = program->run(/*cpu=*/2, {.data = packet});
//
// Every handle (Machine, Object, Program, Map) is a cheap copy that shares what it stands for, and keeps it
// alive.
namespace skep {

namespace vm {
class Machine;
class Program;
class Cpu;
}  // namespace vm
namespace maps {
class Map;
}

class Machine;
class Object;
class Program;
struct ObjectState;

enum class Engine : uint8_t { kInterpreter, kJit };

// kChecked holds every access of a program against the memory it may touch and ends a run that leaves it with
// a fault, so that no program can harm the process. kVerified executes without such checks: only for programs
// that the kernel's verifier accepted.
enum class Mode : uint8_t { kVerified, kChecked };

// What makes it harder to turn a mistake of skep's, or of a verifier's, into control of the process. The
// JIT's code is never writable and executable, whatever is chosen here. docs/performance.md says what each of
// them costs.
struct Hardening {
  // The JIT never writes a constant that a program chose into its code as it is, but combined with a random
  // number, as the kernel does with bpf_jit_harden: no program can place machine code of its choice. Costs
  // two or three short instructions for each constant that is used. The numbers come from MachineOptions'
  // seed, if it has one, else from the host.
  bool blinding = false;
  // The JIT's tail calls, and its calls of C++ functions, never jump where the processor guesses: Spectre's
  // second variant. Costs some tens of cycles for each of them. Not with shadow stacks (CET).
  bool retpolines = false;
  // Each CPU's BPF stack has a page without access before and behind it, so that a program which leaves the
  // stack in verified mode ends the process and does not change other memory. In both engines; costs 8 KiB of
  // address space for each CPU, and no time.
  bool guard_pages = false;
};

struct MachineOptions {
  unsigned cpus = 1;  // simulated CPUs, 1 to 1024, whatever the host has
  // Fixes clock, random numbers, task and hash seeds: equal runs give equal results.
  std::optional<uint64_t> seed = std::nullopt;
  Engine engine = Engine::kJit;
  Mode mode = Mode::kChecked;
  // Per run, about the number of instructions it may execute. In verified mode, where programs end by
  // themselves, only callbacks count.
  uint64_t fuel = 1'000'000'000;
  // Optimisations to leave out, by name (see pass_names()), to find the one that a wrong result comes from.
  std::vector<std::string> without_passes = {};
  Hardening harden = {};
  // Name the JIT's code, function by function, for whoever looks at the process; costs time and memory when
  // a program is first run, and nothing afterwards. perf_map: appends to /tmp/perf-PID.map, for perf(1); what
  // makes that impossible is said once on stderr. gdb_jit: registers an object in memory with GDB, which goes
  // with the program, and gives each program pages of its own, into which GDB can put breakpoints.
  bool perf_map = false;
  bool gdb_jit = false;
};

// Why a run ended early.
struct Fault {
  std::string kind;     // "memory", "misaligned", "fuel", "call-depth", "bad-call", "leak", "lock"
  std::string program;  // the program it happened in; a tail call changes it
  uint32_t pc = 0;      // the instruction, counted in 8-byte slots as the kernel counts
  std::string file;     // its source line where the object has line information, else empty and 0
  uint32_t line = 0;
  bool write = false;    // of a memory fault
  uint64_t address = 0;  // of a memory fault
  uint64_t size = 0;     // of a memory fault, in bytes
  std::string message;   // all of it in one line
};

// What a program is run on.
struct RunInput {
  // The packet from its link-layer header on, or the memory of a raw program (r1 its address, r2 its length).
  std::span<const std::byte> data = {};
  // XDP metadata before the packet: a multiple of 4 bytes.
  std::span<const std::byte> meta = {};
  // The device it came by, and by which XDP_TX sends it; see Machine::add_device().
  uint32_t ingress_ifindex = 1;
  uint32_t rx_queue_index = 0;
  // For programs on __sk_buff: the fields that the kernel's BPF_PROG_TEST_RUN takes from ctx_in; may be
  // nullptr.
  const __sk_buff* skb = nullptr;
  // Whether RunResult::data, and the data of what was forwarded, is wanted.
  bool want_output = false;
};

struct RunResult {
  uint64_t return_value =
      0;  // r0; for kernel program types the low 32 bits are the verdict. Meaningless after a fault
  // Of the program, or of one that a map's element ran over the packet afterwards.
  std::optional<Fault> fault;
  std::vector<std::byte> data;  // the packet or memory after the program, if wanted
  Forwarding forwarding;        // empty unless the program returned XDP_TX, XDP_REDIRECT or TC_ACT_REDIRECT
};

// How a run by a Runner ended.
struct RunOutcome {
  uint64_t return_value = 0;  // as RunResult's
  bool faulted = false;       // Runner::fault() says why
};

// A line of source that an instruction comes from.
struct SourceLine {
  std::string file;
  std::string text;
  uint32_t line = 0;
};

// One instruction as listings show it.
struct ListedInstruction {
  uint32_t slot = 0;
  std::string text;                // pseudo-C, as llvm-objdump and bpftool print it
  std::optional<SourceLine> line;  // where a new source line begins
  std::vector<std::byte> code;     // the JIT's machine code for it, if asked for
};

// Runs one program on one CPU many times, at a few nanoseconds a run: what Program::run() does for each run
// is done once. It holds the CPU for as long as it lives: nothing else runs there (see Program::runner()).
//
// Memory that programs and user space delete from maps is reused when no run can reach it any more, and that
// a Runner says at the start of its next run. So while it lives and makes no runs, deleted elements of all
// the machine's maps wait; preallocated maps may run out of elements, and others grow. Let go of a Runner
// that is not about to run.
//
// Not thread-safe, but it may move between threads. Using one that was moved from is undefined.
class Runner {
 public:
  Runner(Runner&& other) noexcept;
  Runner& operator=(Runner&& other) noexcept;
  ~Runner();

  // Runs once over memory of the caller's, which the program reads and writes in place: r1 is its address, r2
  // its length; empty memory: both are 0. Raw programs alone: others do not run, which is a fault of kind
  // "bad-call".
  RunOutcome run_in_place(std::span<std::byte> memory);
  // Runs once, as Program::run() does and with its errors. want_output is for forwarding() alone; output()
  // is there without.
  Result<RunOutcome> run(const RunInput& input);

  // Of the last run. fault(): why it ended early, if it did. output(): the packet after it, or the memory of
  // a raw program; empty after run_in_place().
  std::optional<Fault> fault() const;
  std::vector<std::byte> output() const;
  const Forwarding& forwarding() const;

 private:
  friend class Program;
  struct State;
  explicit Runner(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What making a program ready for an engine costs.
struct Compilation {
  uint64_t nanoseconds = 0;  // of the calling thread's CPU time, from decoded instructions to runnable code
  size_t code_bytes = 0;     // of machine code; 0: the engine makes none
};

// A loaded program. Thread-safe: it may run on several CPUs at once; runs on one CPU take turns.
class Program {
 public:
  const std::string& name() const { return name_; }
  std::string_view type() const;  // "xdp", "sched_cls", "raw", …
  // The name of a return value for this type, as XDP_PASS; empty where it has none.
  std::string_view verdict_name(uint64_t return_value) const;
  // The longest data that run() takes, in bytes.
  size_t max_data_size() const;
  // How many instructions it has, those of its functions included, in 8-byte slots as the kernel counts them.
  size_t instructions() const;

  // Runs once on a CPU. A fault is part of the result; errors are EINVAL: no such CPU, data that this type of
  // program is not run on, or a program for elements of device or CPU maps (as BPF_PROG_TEST_RUN refuses
  // them); ENOTSUPP (524): skep does not run this type; EBUSY: a Runner holds the CPU.
  //
  // Packets that the program redirects are carried on, see RunResult::forwarding. Those for other CPUs are
  // processed there before this returns; it waits for runs that are going on there.
  Result<RunResult> run(unsigned cpu, const RunInput& input) const;
  // The same over memory of the caller's, which the program reads and writes in place. Raw programs only.
  Result<RunResult> run_in_place(unsigned cpu, std::span<std::byte> memory) const;

  // Takes a CPU for many runs, and keeps it until the Runner's end. Waits for a run that is going on there;
  // does not wait for another Runner: EBUSY, as for every other way to run on this CPU from then on
  // (BPF_PROG_TEST_RUN too). Errors otherwise as run().
  Result<Runner> runner(unsigned cpu) const;

  // Makes the code of the machine's engine and mode once more, from the start, and discards it.
  Compilation compile() const;

  // With machine_code: makes the JIT's code and lists it beside each instruction.
  std::vector<ListedInstruction> listing(bool machine_code) const;

  // The descriptor that bpf(2) knows the program by, as values of device and CPU maps want it.
  int descriptor() const { return descriptor_; }

 private:
  friend class Machine;
  friend class Object;
  Program(std::shared_ptr<ObjectState> object, std::shared_ptr<vm::Program> program, std::string name,
          int descriptor);
  Result<vm::Cpu*> find_cpu(unsigned cpu) const;
  std::shared_ptr<ObjectState> object_;
  std::shared_ptr<vm::Program> program_;
  std::string name_;
  int descriptor_;
};

// A record that a program sent to user space.
struct SentRecord {
  std::span<const std::byte> data;  // valid until the function that gets the record returns
  std::optional<unsigned> cpu;      // whose ring it comes from, where each CPU has one
  uint64_t lost = 0;                // not 0: in place of a record, how many did not fit in that ring
};

// A map, as user space sees it through bpf(2). Thread-safe. Errors carry the kernel's numbers: ENOENT,
// EEXIST, E2BIG…
class Map {
 public:
  const std::string& name() const { return name_; }
  std::string_view type() const;  // "hash", "percpu_array", …
  uint32_t key_size() const;
  uint32_t value_size() const;
  uint32_t max_entries() const;
  uint32_t flags() const;
  // Per-CPU maps hold a value per simulated CPU, each rounded up to 8 bytes: a value of user space is all of
  // them.
  bool per_cpu() const;
  size_t user_value_size() const;
  // Ids of the types in Object::btf(); 0: unknown.
  uint32_t btf_key_type() const { return btf_key_type_; }
  uint32_t btf_value_type() const { return btf_value_type_; }

  // Keys are key_size() bytes, values user_value_size(). `flags`: BPF_ANY, BPF_NOEXIST, BPF_EXIST,
  // BPF_F_LOCK.
  Result<std::vector<std::byte>> lookup(std::span<const std::byte> key) const;
  Result<void> update(std::span<const std::byte> key, std::span<const std::byte> value,
                      uint64_t flags = 0) const;
  Result<void> erase(std::span<const std::byte> key) const;
  // The key after one; nullopt: the first. ENOENT: it was the last.
  Result<std::vector<std::byte>> next_key(std::optional<std::span<const std::byte>> key) const;

  // Whether programs send records through the map: a ring buffer or a perf event array.
  bool sends_records() const;
  // Hands over the records that programs sent since the last call, in their order (a perf event array's in
  // that of each CPU), and takes them out of the map, as a reader in user space does; there may be one at a
  // time, this or another. Returns how many there were. A perf event array loses what is sent before the
  // first call, which makes its rings. ENOTSUPP (524): sends_records() is false.
  Result<size_t> consume(const std::function<void(const SentRecord&)>& take) const;

  // The descriptor that bpf(2) knows the map by.
  int descriptor() const { return descriptor_; }

 private:
  friend class Object;
  Map() = default;
  Result<void> command(int number, const void* key, const void* value, uint64_t flags) const;
  Result<void> check_sizes(size_t key, size_t value) const;
  std::shared_ptr<ObjectState> object_;
  std::shared_ptr<maps::Map> map_;
  std::string name_;
  int descriptor_ = -1;
  uint32_t btf_key_type_ = 0;
  uint32_t btf_value_type_ = 0;
};

struct ObjectOptions {
  // The program type to load the programs as, in place of what their sections say; see Program::type().
  std::string type = {};
  // Load this program alone (and what its program arrays hold, and `also`); empty: all.
  std::string program = {};
  // BTF of the kernel to relocate against (CO-RE); empty: the host's.
  std::string kernel_btf = {};
  // Names the object in messages and in its maps; empty: from the path.
  std::string name = {};
  // More programs to load, where one is chosen: those that its maps' elements are to run.
  std::vector<std::string> also = {};
};

// What an object file says of a program or a map, before anything is loaded.
struct ProgramInfo {
  std::string name;
  std::string type;
  std::string section;
  size_t instructions = 0;
  // Whether skep runs it on packets or memory: programs of this type, but not those for elements of maps.
  bool can_run = false;
};
struct MapInfo {
  std::string name;
  std::string type;
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
  uint32_t flags = 0;
  uint64_t map_extra = 0;
  uint32_t numa_node = 0;
  std::string pin_path;
  bool internal = false;  // made by libbpf for global data
};

// A BPF object: an ELF file that libbpf opens and loads, or bare instructions (of type raw). Not thread-safe
// while it loads.
class Object {
 public:
  std::vector<ProgramInfo> programs() const;
  std::vector<MapInfo> maps() const;

  // Sets a global variable (const volatile configuration, .data, .bss) before load(). ENOENT: no such
  // variable; EINVAL: another size, or already loaded.
  Result<void> set_variable(std::string_view name, std::span<const std::byte> value) const;

  // Makes the maps and loads the programs. The message of a refusal names object, program and cause; its
  // first line stands alone.
  Result<void> load() const;

  // After load(). ENOENT: no program or map of that name (or it was not to be loaded).
  Result<Program> program(std::string_view name) const;
  Result<Map> map(std::string_view name) const;
  std::vector<Map> loaded_maps() const;

  // The object's BTF, as libbpf has it (struct btf *); nullptr: it has none. Valid as long as the object.
  const ::btf* btf() const;

 private:
  friend class Machine;
  explicit Object(std::shared_ptr<ObjectState> state) : state_(std::move(state)) {}
  std::shared_ptr<ObjectState> state_;
};

// What a helper of one's own may ask of the CPU that calls it.
class HelperCall {
 public:
  explicit HelperCall(vm::Cpu& cpu) : cpu_(&cpu) {}
  unsigned cpu() const;
  // Whether the running program may access the memory; helpers hold pointers against it before they follow
  // them.
  bool may_access(uint64_t address, uint64_t size, bool write) const;
  // Calls a function of the program that it passed as a callback; returns its r0. Return at once when
  // stopped().
  uint64_t call_back(uint64_t callback, const std::array<uint64_t, 5>& arguments) const;
  bool stopped() const;
  // Lets the program access memory until its run ends.
  void grant(std::span<const std::byte> memory) const;

 private:
  vm::Cpu* cpu_;
};

using Helper = std::function<uint64_t(std::span<const uint64_t, 5> arguments, HelperCall& call)>;

// A network device of a machine.
struct DeviceOptions {
  uint32_t ifindex = 0;   // 1 to 2^31 - 1
  std::string name = {};  // for messages; empty: "dev" and the ifindex
  // Redirected packets may be 18 bytes longer: a link-layer header and a VLAN tag.
  uint32_t mtu = 1500;
  bool up = true;
  // Called for each packet that leaves by the device, from its link-layer header on, by the thread that runs
  // the program, on several at once if several run. May be empty.
  std::function<void(std::span<const std::byte>)> on_sent = {};
};

// A machine: simulated CPUs, maps, programs. Thread-safe, except set_helper, which is for before programs are
// loaded.
class Machine {
 public:
  // EINVAL: a number of CPUs out of range, or an unknown pass. ENOMEM.
  static Result<Machine> create(const MachineOptions& options = {});

  unsigned cpus() const;

  // Opens an object from a file, or from memory. EINVAL and libbpf's errors, with a message that names the
  // file.
  Result<Object> open(const std::string& path, const ObjectOptions& options = {}) const;
  Result<Object> open(std::span<const std::byte> image, const ObjectOptions& options = {}) const;

  // Adds a helper under a number, or takes the place of the built-in one of that number (to mock it), for
  // programs loaded from now on. `name` is for messages. In checked mode a helper in a built-in one's place
  // gets arguments that were checked as that one's; those of a new helper are not checked (see
  // HelperCall::may_access).
  void set_helper(uint32_t id, std::string name, Helper helper);

  // Where the lines of bpf_trace_printk go; nowhere unless set. Called by the thread that runs the program.
  void set_trace_sink(std::function<void(unsigned cpu, std::string_view line)> sink);

  // Devices are what elements of DEVMAP and DEVMAP_HASH name and what redirected packets leave by. From the
  // beginning there is the loopback device, 1, to which nothing can be redirected; another device 1 may take
  // its place. Devices stay as long as the machine. EINVAL: no such number. EEXIST.
  Result<void> add_device(DeviceOptions options) const;
  // ENODEV.
  Result<void> set_device_up(uint32_t ifindex, bool up) const;

  // Moves a seeded machine's clock on and fires the timers (bpf_timer) that become due meanwhile, in order of
  // their expiry, each at its time and on the CPU that started it. Without a seed, where the clock is the
  // host's: fires what is due now. Returns how many fired. What is not fired here fires before the next run
  // on its CPU, once it is due; so do the timers of a CPU that a Runner holds. Waits for runs that are going
  // on; not to be called from within one (a helper, a sink).
  size_t advance_clock(uint64_t nanoseconds);

  // Told of each timer's callback that ends with a fault, by the thread in whose run or advance_clock() it
  // fired. Not to be set while programs run.
  void set_timer_fault_sink(std::function<void(unsigned cpu, const Fault& fault)> sink);

  // bpf(2) on this machine: the kernel's commands; a negative error number where the kernel sets errno.
  long bpf(int command, union bpf_attr* attributes, unsigned size) const;

  vm::Machine& internal() const { return *machine_; }

 private:
  explicit Machine(std::shared_ptr<vm::Machine> machine) : machine_(std::move(machine)) {}
  std::shared_ptr<vm::Machine> machine_;
};

// The names of the optimisations that MachineOptions::without_passes may leave out.
std::vector<std::string> pass_names();

// Registered names of program types, for messages and options.
std::vector<std::string> program_type_names();

}  // namespace skep
