#include <gelf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "engine_pair.hpp"
#include "isa/assemble.hpp"
#include "jit/gdb_object.hpp"

// What perf and GDB are told of generated code.
namespace skep::jit {
namespace {

using vm::EngineKind;
using vm::Mode;

constexpr const char* kTwoFunctions = "r1 = 5\ncall twice\nexit\ntwice:\nr0 = r1\nr0 += r1\nexit";

std::shared_ptr<vm::Program> load_named(EnginePair& pair, const std::string& name) {
  vm::ProgramSpec spec;
  spec.type = vm::find_program_type(vm::kProgTypeRaw);
  spec.instructions = isa::encode(*isa::assemble(kTwoFunctions));
  spec.name = name;
  spec.function_names = {{0, "main"}, {3, "tw ice\n"}};
  // Without passes, that the second function may stay one.
  return *vm::Program::create(std::move(spec),
                              {.helpers = pair.machine().helpers(),
                               .engines = pair.machine().engines(),
                               .id = 17,
                               .passes = vm::PassSet::none()},
                              {});
}

const vm::Executable& translated(const vm::Program& program) {
  return program.executable(EngineKind::kJit, Mode::kVerified);
}

uintptr_t begin_of(const vm::Program& program) {
  return reinterpret_cast<uintptr_t>(translated(program).machine_code().data());
}

// Where the functions begin: their first instructions.
std::map<std::string, uintptr_t> expected_functions(const vm::Program& program, const std::string& prefix) {
  const auto offsets = translated(program).instruction_offsets();
  return {{prefix + "_main", begin_of(program) + offsets[0]},
          {prefix + "_tw_ice_", begin_of(program) + offsets[3]}};
}

std::string perf_map_path() { return "/tmp/perf-" + std::to_string(getpid()) + ".map"; }

class PerfMapFile : public testing::Test {
 protected:
  PerfMapFile() { static_cast<void>(remove(perf_map_path().c_str())); }
  ~PerfMapFile() override { static_cast<void>(remove(perf_map_path().c_str())); }

  struct Line {
    uintptr_t begin;
    size_t size;
    std::string name;
  };
  static std::vector<Line> read() {
    std::ifstream file(perf_map_path());
    std::vector<Line> lines;
    for (std::string text; std::getline(file, text);) {
      Line line{};
      char* rest = nullptr;
      line.begin = std::strtoull(text.c_str(), &rest, 16);
      EXPECT_EQ(*rest, ' ') << text;
      line.size = std::strtoull(rest + 1, &rest, 16);
      EXPECT_EQ(*rest, ' ') << text;
      line.name = rest + 1;
      EXPECT_EQ(line.name.find_first_of(" \t"), std::string::npos) << text;
      lines.push_back(line);
    }
    return lines;
  }

  std::vector<std::string> warnings_;
  EnginePair pair_{{}, JitOptions{.perf_map = true, .warn = [this](const std::string& text) {
                                    warnings_.push_back(text);
                                  }}};
};

TEST_F(PerfMapFile, NamesEveryFunction) {
  const auto program = load_named(pair_, "sum");
  auto functions = expected_functions(*program, "bpf_prog_sum");
  const size_t size = translated(*program).machine_code().size();
  size_t covered = 0;
  for (const Line& line : read()) {
    covered += line.size;
    EXPECT_GT(line.size, 0U);
    const auto function = functions.find(line.name);
    if (function == functions.end()) continue;
    EXPECT_EQ(line.begin, function->second);
    functions.erase(function);
  }
  EXPECT_TRUE(functions.empty());
  EXPECT_EQ(covered, size) << "every byte has a name";
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(PerfMapFile, ProgramsCannotWriteLinesOfTheirOwn) {
  translated(*load_named(pair_, "x\n1000 10 main\ny"));
  for (const Line& line : read())
    EXPECT_TRUE(line.name.starts_with("bpf_prog_x_1000_10_main_y")) << line.name;
  EXPECT_GE(read().size(), 3U);
}

TEST_F(PerfMapFile, ProgramsWithoutANameHaveTheirId) {
  translated(*load_named(pair_, ""));
  for (const Line& line : read()) EXPECT_TRUE(line.name.starts_with("bpf_prog_17")) << line.name;
}

TEST_F(PerfMapFile, IsAppendedTo) {
  std::ofstream(perf_map_path()) << "10 1 another_jit\n";
  translated(*load_named(pair_, "first"));
  translated(*load_named(pair_, "second"));
  std::string mains;
  for (const Line& line : read())
    if (line.name == "another_jit" || line.name.ends_with("_main")) mains += line.name + " ";
  EXPECT_EQ(mains, "another_jit bpf_prog_first_main bpf_prog_second_main ");
}

TEST_F(PerfMapFile, IsComplainedOfOnceAndDoneWithout) {
  ASSERT_EQ(mkdir(perf_map_path().c_str(), 0700), 0);
  for (const char* name : {"first", "second"}) EXPECT_EQ(pair_.run_both(*load_named(pair_, name)).r0, 10U);
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_NE(warnings_[0].find(perf_map_path() + ": Is a directory"), std::string::npos) << warnings_[0];
}

TEST_F(PerfMapFile, LinksOfOthersAreNotFollowed) {
  const std::string other = perf_map_path() + ".other";
  ASSERT_EQ(symlink(other.c_str(), perf_map_path().c_str()), 0);
  translated(*load_named(pair_, "name"));
  EXPECT_NE(access(other.c_str(), F_OK), 0);
  EXPECT_EQ(warnings_.size(), 1U);
}

TEST_F(PerfMapFile, IsNotWrittenUnasked) {
  EnginePair plain({}, JitOptions{});
  translated(*load_named(plain, "name"));
  EXPECT_NE(access(perf_map_path().c_str(), F_OK), 0);
}

std::vector<const jit_code_entry*> registered() {
  std::vector<const jit_code_entry*> entries;
  const jit_code_entry* previous = nullptr;
  for (const jit_code_entry* entry = __jit_debug_descriptor.first_entry; entry != nullptr;
       entry = entry->next_entry) {
    EXPECT_EQ(entry->prev_entry, previous);
    previous = entry;
    entries.push_back(entry);
  }
  return entries;
}

// The functions that an object names, as libelf reads it.
std::map<std::string, uintptr_t> functions_in(const jit_code_entry& entry) {
  std::map<std::string, uintptr_t> functions;
  elf_version(EV_CURRENT);
  std::vector<char> image(entry.symfile_addr, entry.symfile_addr + entry.symfile_size);
  Elf* elf = elf_memory(image.data(), image.size());
  EXPECT_NE(elf, nullptr);
  EXPECT_EQ(elf_kind(elf), ELF_K_ELF);
  for (Elf_Scn* section = elf_nextscn(elf, nullptr); section != nullptr;
       section = elf_nextscn(elf, section)) {
    GElf_Shdr header{};
    EXPECT_NE(gelf_getshdr(section, &header), nullptr);
    if (header.sh_type != SHT_SYMTAB) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    for (int n = 1; n < static_cast<int>(header.sh_size / header.sh_entsize); ++n) {
      GElf_Sym symbol{};
      EXPECT_NE(gelf_getsym(data, n, &symbol), nullptr);
      GElf_Shdr text{};
      EXPECT_NE(gelf_getshdr(elf_getscn(elf, symbol.st_shndx), &text), nullptr);
      EXPECT_LE(symbol.st_value + symbol.st_size, text.sh_size);
      EXPECT_EQ(GELF_ST_TYPE(symbol.st_info), STT_FUNC);
      functions[elf_strptr(elf, header.sh_link, symbol.st_name)] = text.sh_addr + symbol.st_value;
    }
  }
  elf_end(elf);
  return functions;
}

TEST(GdbObjects, NameTheFunctionsOfAProgramWhileItIsThere) {
  EnginePair pair({}, {.gdb_objects = true});
  ASSERT_TRUE(registered().empty());
  auto first = load_named(pair, "first");
  auto second = load_named(pair, "second");
  EXPECT_TRUE(registered().empty()) << "no code yet";
  translated(*first);
  translated(*second);
  const auto both = registered();
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(__jit_debug_descriptor.version, 1U);
  EXPECT_EQ(__jit_debug_descriptor.action_flag, 1U) << "JIT_REGISTER_FN";
  EXPECT_EQ(__jit_debug_descriptor.relevant_entry, both[0]);
  for (const auto& [program, entry, prefix] :
       {std::tuple(first, both[1], "bpf_prog_first"), std::tuple(second, both[0], "bpf_prog_second")}) {
    auto functions = functions_in(*entry);
    for (const auto& [name, address] : expected_functions(*program, prefix))
      EXPECT_EQ(functions[name], address) << name;
  }
  first.reset();
  EXPECT_EQ(__jit_debug_descriptor.action_flag, 2U) << "JIT_UNREGISTER_FN";
  EXPECT_EQ(registered(), std::vector<const jit_code_entry*>{both[0]});
  second.reset();
  EXPECT_TRUE(registered().empty());
}

TEST(GdbObjects, AreNotMadeUnasked) {
  EnginePair pair({}, JitOptions{});
  const auto program = load_named(pair, "name");
  translated(*program);
  EXPECT_TRUE(registered().empty());
}

}  // namespace
}  // namespace skep::jit
