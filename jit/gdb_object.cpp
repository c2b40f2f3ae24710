#include "jit/gdb_object.hpp"

#include <elf.h>

#include <array>
#include <cstring>
#include <mutex>
#include <string>

extern "C" {
[[gnu::weak]] jit_descriptor __jit_debug_descriptor = {1, 0, nullptr, nullptr};
// What it does not do must not be optimised away: the debugger stops here.
[[gnu::weak, gnu::noinline]] void __jit_debug_register_code() { asm volatile("" ::: "memory"); }
}

namespace skep::jit {
namespace {

enum Action : uint32_t { kRegister = 1, kUnregister = 2 };
enum Section : uint16_t { kNone, kText, kSymbols, kStrings, kSections };

// Over the descriptor and its list.
std::mutex& descriptor_mutex() {
  static std::mutex mutex;
  return mutex;
}

void tell_debugger(Action action, jit_code_entry& entry) {
  __jit_debug_descriptor.action_flag = action;
  __jit_debug_descriptor.relevant_entry = &entry;
  __jit_debug_register_code();
}

// Offsets into the strings that it collects.
class Strings {
 public:
  uint32_t add(const std::string& text) {
    const auto at = static_cast<uint32_t>(bytes_.size());
    bytes_ += text;
    bytes_ += '\0';
    return at;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_ = std::string(1, '\0');
};

struct Image {
  Elf64_Ehdr header{};
  std::array<Elf64_Shdr, kSections> sections{};
};

std::vector<Elf64_Sym> symbol_table(std::span<const CodeSymbol> symbols, Strings& strings) {
  std::vector<Elf64_Sym> table(1);  // the first is none
  for (const CodeSymbol& symbol : symbols)
    table.push_back({.st_name = strings.add(symbol.name),
                     .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                     .st_other = STV_DEFAULT,
                     .st_shndx = kText,
                     .st_value = symbol.offset,
                     .st_size = symbol.size});
  return table;
}

Elf64_Ehdr file_header() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_REL;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_shoff = offsetof(Image, sections);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = kSections;
  header.e_shstrndx = kStrings;
  return header;
}

// A relocatable object whose text is at its address already, and not in the file: symbols are offsets into
// it.
std::vector<char> make_image(std::span<const uint8_t> code, std::span<const CodeSymbol> symbols) {
  Strings strings;
  Image image;
  image.header = file_header();
  const std::vector<Elf64_Sym> table = symbol_table(symbols, strings);
  const size_t table_size = table.size() * sizeof(Elf64_Sym);
  image.sections[kText] = {.sh_name = strings.add(".text"),
                           .sh_type = SHT_NOBITS,
                           .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                           .sh_addr = reinterpret_cast<uintptr_t>(code.data()),
                           .sh_offset = 0,
                           .sh_size = code.size(),
                           .sh_link = 0,
                           .sh_info = 0,
                           .sh_addralign = 16,
                           .sh_entsize = 0};
  image.sections[kSymbols] = {.sh_name = strings.add(".symtab"),
                              .sh_type = SHT_SYMTAB,
                              .sh_flags = 0,
                              .sh_addr = 0,
                              .sh_offset = sizeof(Image),
                              .sh_size = table_size,
                              .sh_link = kStrings,
                              .sh_info = 1,  // the first that is not local
                              .sh_addralign = 8,
                              .sh_entsize = sizeof(Elf64_Sym)};
  const uint32_t name = strings.add(".strtab");
  image.sections[kStrings] = {.sh_name = name,
                              .sh_type = SHT_STRTAB,
                              .sh_flags = 0,
                              .sh_addr = 0,
                              .sh_offset = sizeof(Image) + table_size,
                              .sh_size = strings.bytes().size(),
                              .sh_link = 0,
                              .sh_info = 0,
                              .sh_addralign = 1,
                              .sh_entsize = 0};
  std::vector<char> bytes(sizeof(Image) + table_size + strings.bytes().size());
  std::memcpy(bytes.data(), &image, sizeof image);
  std::memcpy(bytes.data() + sizeof(Image), table.data(), table_size);
  std::memcpy(bytes.data() + sizeof(Image) + table_size, strings.bytes().data(), strings.bytes().size());
  return bytes;
}

}  // namespace

GdbObject::GdbObject(std::span<const uint8_t> code, std::span<const CodeSymbol> symbols)
    : image_(make_image(code, symbols)) {
  entry_.symfile_addr = image_.data();
  entry_.symfile_size = image_.size();
  const std::scoped_lock lock(descriptor_mutex());
  entry_.next_entry = __jit_debug_descriptor.first_entry;
  if (entry_.next_entry != nullptr) entry_.next_entry->prev_entry = &entry_;
  __jit_debug_descriptor.first_entry = &entry_;
  tell_debugger(kRegister, entry_);
}

GdbObject::~GdbObject() {
  const std::scoped_lock lock(descriptor_mutex());
  if (entry_.next_entry != nullptr) entry_.next_entry->prev_entry = entry_.prev_entry;
  if (entry_.prev_entry != nullptr)
    entry_.prev_entry->next_entry = entry_.next_entry;
  else
    __jit_debug_descriptor.first_entry = entry_.next_entry;
  tell_debugger(kUnregister, entry_);
}

}  // namespace skep::jit
