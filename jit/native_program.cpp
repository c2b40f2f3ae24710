#include "jit/native_program.hpp"

#include "jit/assembly.hpp"
#include "jit/emitter.hpp"

namespace skep::jit {

uint64_t NativeProgram::call(vm::Cpu& cpu, const vm::Subprogram& function,
                             const vm::Arguments& arguments) const {
  return trampoline_(&cpu.run(), arguments.data(), this->function(function.index));
}

vm::EntryFunction NativeProgram::entry() const {
  return reinterpret_cast<vm::EntryFunction>(
      reinterpret_cast<uintptr_t>(code_.bytes().data() + layout_.entry));
}

std::unique_ptr<NativeProgram> translate(const vm::Program& program, vm::Mode mode,
                                         const Translating& options, CodePool& pool,
                                         const SharedCode& shared) {
  Assembly assembly;
  Emitter emitter(program, mode, options, shared, assembly.code());
  emitter.emit();
  assembly.finish();
  CodeLayout layout = emitter.layout();
  layout.text_size = static_cast<uint32_t>(assembly.code().textSection()->bufferSize());
  const auto symbols =
      options.gdb_objects || options.perf_map ? code_symbols(program, layout) : std::vector<CodeSymbol>();
  auto made = std::make_unique<NativeProgram>(std::move(layout), assembly.place(pool), shared.trampoline);
  if (options.perf_map) options.perf_map->add(made->machine_code(), symbols);
  if (options.gdb_objects) made->show_to_gdb(symbols);
  return made;
}

}  // namespace skep::jit
