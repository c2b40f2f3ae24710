#include "tools/bench/kernel_contestant.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>

namespace skep::tools {
namespace {

constexpr size_t kLogSize = size_t{1} << 20;
constexpr size_t kMaxOutput = 4096;  // a page: what a test run's packet has room for
constexpr uint64_t kMaxRepeat = std::numeric_limits<int32_t>::max();

// Keeps libbpf quiet: what it has to say is in the verifier's log and in the error's number.
class QuietLibbpf {
 public:
  QuietLibbpf() : before_(libbpf_set_print([](libbpf_print_level, const char*, va_list) { return 0; })) {}
  QuietLibbpf(const QuietLibbpf&) = delete;
  QuietLibbpf& operator=(const QuietLibbpf&) = delete;
  ~QuietLibbpf() { libbpf_set_print(before_); }

 private:
  libbpf_print_fn_t before_;
};

std::string reason(int error) {
  if (error == EPERM || error == EACCES)
    return fmt::format("{} (loading programs needs root, or CAP_BPF and CAP_NET_ADMIN)",
                       std::strerror(error));
  return std::strerror(error);
}

// The verifier says last, before its statistics, what it did not like.
std::string last_words(std::string_view log) {
  log = log.substr(0, log.find("\nprocessed "));
  while (log.ends_with('\n')) log.remove_suffix(1);
  return std::string(log.substr(log.rfind('\n') + 1));
}

bool is_elf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic(4, '\0');
  file.read(magic.data(), 4);
  return magic == "\177ELF";
}

// A program array may be filled with any of the object's programs when it is loaded.
bool has_program_array(const bpf_object* object) {
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY) return true;
  return false;
}

// Nothing of a benchmark is to stay behind in the host's bpffs, and nothing there is to be used.
void forget_pins(const bpf_object* object) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, nullptr);
}

bpf_prog_type type_of_name(std::string_view wanted) {
  for (int number = 1;; ++number) {
    const auto type = static_cast<bpf_prog_type>(number);
    const char* name = libbpf_bpf_prog_type_str(type);
    if (name == nullptr) return BPF_PROG_TYPE_UNSPEC;
    if (wanted == name) return type;
  }
}

Result<bpf_program*> choose(bpf_object* object, const ObjectArguments& arguments) {
  const bool all = has_program_array(object);
  bpf_program* program = nullptr;
  bpf_program* chosen = nullptr;
  bpf_object__for_each_program(program, object) {
    const bool named = arguments.program == bpf_program__name(program);
    if (named) chosen = program;
    bpf_program__set_autoload(program, named || all);
    if ((named || all) && !arguments.type.empty())
      bpf_program__set_type(program, type_of_name(arguments.type));
  }
  if (!chosen) return fail(ENOENT, fmt::format("no program named '{}'", arguments.program));
  return chosen;
}

}  // namespace

void KernelContestant::Close::operator()(bpf_object* object) const { bpf_object__close(object); }

Result<KernelContestant::Object> KernelContestant::open(const ObjectArguments& arguments) {
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.btf_custom_path = arguments.kernel_btf.empty() ? nullptr : arguments.kernel_btf.c_str();
  errno = 0;
  Object object(bpf_object__open_file(arguments.path.c_str(), &options));
  if (!object) return fail(errno, fmt::format("libbpf does not open the object: {}", std::strerror(errno)));
  return object;
}

Result<std::unique_ptr<KernelContestant>> KernelContestant::load(const ObjectArguments& arguments,
                                                                 const std::string& type) {
  if (type == "raw") return fail(ENOTSUP, "the kernel has no programs of type raw");
  if (!is_elf(arguments.path)) return fail(ENOTSUP, "bare instructions are not loaded into the kernel");
  const QuietLibbpf quiet;
  auto object = open(arguments);
  if (!object) return std::unexpected(object.error());
  forget_pins(object->get());
  auto program = choose(object->get(), arguments);
  if (!program) return std::unexpected(program.error());
  std::string log(kLogSize, '\0');
  bpf_program__set_log_buf(*program, log.data(), log.size());
  if (const int error = bpf_object__load(object->get()); error != 0) {
    const std::string words = last_words(log.data());
    return fail(-error, words.empty() ? reason(-error) : fmt::format("{}: {}", reason(-error), words));
  }
  const int descriptor = bpf_program__fd(*program);
  return std::unique_ptr<KernelContestant>(new KernelContestant(std::move(*object), descriptor));
}

EngineFacts KernelContestant::facts() const {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  EngineFacts facts;
  if (bpf_obj_get_info_by_fd(descriptor_, &info, &size) == 0 && info.jited_prog_len != 0)
    facts.code_bytes = info.jited_prog_len;
  return facts;
}

Result<Observation> KernelContestant::observe(const Packet& input) {
  Observation seen;
  seen.memory.resize(kMaxOutput);
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = input.bytes.data();
  options.data_size_in = static_cast<uint32_t>(input.bytes.size());
  options.data_out = seen.memory.data();
  options.data_size_out = static_cast<uint32_t>(seen.memory.size());
  options.repeat = 1;
  if (const int error = bpf_prog_test_run_opts(descriptor_, &options); error != 0)
    return fail(-error, fmt::format("BPF_PROG_TEST_RUN: {}", reason(-error)));
  seen.memory.resize(std::min<size_t>(options.data_size_out, seen.memory.size()));
  seen.return_value = options.retval;
  return seen;
}

Result<double> KernelContestant::time(std::span<const Packet> inputs, uint64_t passes) {
  double total = 0;
  for (const Packet& input : inputs) {
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = input.bytes.data();
    options.data_size_in = static_cast<uint32_t>(input.bytes.size());
    options.repeat = static_cast<int>(std::min(passes, kMaxRepeat));
    int error = 0;
    do error = bpf_prog_test_run_opts(descriptor_, &options);
    while (error == -EINTR);
    if (error != 0) return fail(-error, fmt::format("BPF_PROG_TEST_RUN: {}", reason(-error)));
    total += static_cast<double>(options.duration) * static_cast<double>(passes);
  }
  return total;
}

}  // namespace skep::tools
