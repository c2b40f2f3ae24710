#include "bench/skep_program.hpp"

#include <unistd.h>

#include <cstddef>
#include <stdexcept>

namespace skep::bench {
namespace {

struct Loaded {
  Machine machine;
  Program program;
};

template <class T>
T checked(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

MachineOptions options_of(const Execution& execution) {
  return {.cpus = 1, .engine = execution.engine, .mode = execution.mode};
}

Loaded load_into_machine(const std::string& path, const std::string& name, const MachineOptions& options) {
  Machine machine = checked(Machine::create(options));
  const Object object =
      checked(machine.open(path, {.type = {}, .program = name, .kernel_btf = {}, .name = {}}));
  if (auto done = object.load(); !done) throw std::runtime_error(done.error().message);
  return {machine, checked(object.program(name))};
}

long command(const Machine& machine, int number, bpf_attr& attributes) {
  const long result = machine.bpf(number, &attributes, sizeof attributes);
  if (result < 0) throw std::runtime_error("bpf(2) on the machine failed");
  return result;
}

}  // namespace

Runner load(const std::string& object, const std::string& program, const Execution& execution) {
  return load(object, program, options_of(execution));
}

Runner load(const std::string& object, const std::string& program, const MachineOptions& options) {
  return checked(load_program(object, program, options).runner(0));
}

Program load_program(const std::string& object, const std::string& program, const MachineOptions& options) {
  return load_into_machine(object, program, options).program;
}

std::vector<isa::Encoded> instructions_of(const std::string& object, const std::string& program) {
  const Loaded loaded = load_into_machine(object, program, options_of(kExecutions[0]));
  bpf_attr next{};
  command(loaded.machine, BPF_PROG_GET_NEXT_ID, next);
  bpf_attr open{};
  open.prog_id = next.next_id;
  const int descriptor = static_cast<int>(command(loaded.machine, BPF_PROG_GET_FD_BY_ID, open));

  std::vector<isa::Encoded> out(1024);
  bpf_prog_info info{};
  info.xlated_prog_insns = reinterpret_cast<uintptr_t>(out.data());
  info.xlated_prog_len = static_cast<uint32_t>(out.size() * sizeof(isa::Encoded));
  bpf_attr ask{};
  ask.info.bpf_fd = static_cast<uint32_t>(descriptor);
  ask.info.info_len = sizeof info;
  ask.info.info = reinterpret_cast<uintptr_t>(&info);
  command(loaded.machine, BPF_OBJ_GET_INFO_BY_FD, ask);
  close(descriptor);
  out.resize(info.xlated_prog_len / sizeof(isa::Encoded));
  return out;
}

}  // namespace skep::bench
