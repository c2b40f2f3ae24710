#include "jit/jit.hpp"

#include <asmjit/x86.h>

#include <array>
#include <mutex>
#include <optional>
#include <random>

#include "jit/access_search.hpp"
#include "jit/assembly.hpp"
#include "jit/native_program.hpp"
#include "vm/random.hpp"

namespace skep::jit {
namespace {

class Jit final : public vm::Engine {
 public:
  Jit(const JitOptions& options, const Translating& translating)
      : translating_(translating), seeds_(first_seed(options)), pool_(storage_for(options)) {
    if (options.perf_map) perf_map_.emplace(options.warn);
  }

  std::unique_ptr<vm::Executable> prepare(const vm::Program& program, vm::Mode mode) const override {
    Translating translating = translating_;
    if (translating.blinding) translating.seed = next_seed();
    if (perf_map_) translating.perf_map = &*perf_map_;
    return translate(program, mode, translating, pool_, shared_code(mode));
  }

 private:
  // The kernel lets debuggers put breakpoints into private pages alone.
  static CodePool::Storage storage_for(const JitOptions& options) {
    const bool shared = options.use_memory_file && !options.gdb_objects;
    return shared ? CodePool::Storage::kShared : CodePool::Storage::kPrivate;
  }

  // Made on first use.
  struct Shared {
    std::once_flag made;
    std::optional<CodePool::Block> block;
    SharedCode code;
  };

  const SharedCode& shared_code(vm::Mode mode) const {
    Shared& shared = shared_[static_cast<size_t>(mode)];
    std::call_once(shared.made, [&] { make(shared, mode); });
    return shared.code;
  }

  void make(Shared& shared, vm::Mode mode) const {
    Assembly assembly;
    asmjit::x86::Assembler assembler(&assembly.code());
    IndirectBranches branches(assembler, translating_.retpolines);
    emit_trampoline(assembler, mode, branches);
    const size_t access_search = assembler.offset();
    if (mode == vm::Mode::kChecked) emit_access_search(assembler, branches);
    branches.thunks();
    assembly.finish();
    shared.block.emplace(assembly.place(pool_));
    const uint8_t* code = shared.block->bytes().data();
    shared.code.trampoline = reinterpret_cast<Trampoline>(reinterpret_cast<uintptr_t>(code));
    shared.code.access_search = code + access_search;
  }

  uint64_t next_seed() const {
    const std::scoped_lock lock(seeds_mutex_);
    return seeds_.next();
  }
  // The host's random numbers are slow: it is asked once.
  static uint64_t first_seed(const JitOptions& options) {
    if (options.seed || !options.blind_constants) return options.seed.value_or(0);
    std::random_device host;
    return uint64_t{host()} << 32 | host();
  }

  Translating translating_;
  mutable std::mutex seeds_mutex_;
  mutable vm::Random seeds_;  // a program each
  mutable std::optional<PerfMap> perf_map_;
  mutable CodePool pool_;                 // before what lies in it
  mutable std::array<Shared, 2> shared_;  // by mode
};

}  // namespace

std::unique_ptr<vm::Engine> make_jit(const JitOptions& options) {
  const auto& host = asmjit::CpuInfo::host().features().x86();
  const Translating translating{.bmi2 = options.use_bmi2 && host.hasBMI2(),
                                .movbe = options.use_movbe && host.hasMOVBE(),
                                .loop_alignment = options.loop_alignment,
                                .blinding = options.blind_constants,
                                .retpolines = options.retpolines,
                                .gdb_objects = options.gdb_objects};
  return std::make_unique<Jit>(options, translating);
}

}  // namespace skep::jit
