#include "loader/legacy_maps.hpp"

#include <bpf/btf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace skep::loader {
namespace {

constexpr std::string_view kLegacySection = "maps";
constexpr const char* kMapsSection = ".maps";
constexpr const char* kMovedSection = ".maps.legacy";
constexpr const char* kBtfSection = ".BTF";
constexpr size_t kDataAlignment = 8;

// The fields of struct bpf_map_def, in its order; libbpf's BTF maps call them the same.
constexpr std::array kFields{"type", "key_size", "value_size", "max_entries", "map_flags"};
constexpr size_t kDefinitionSize = kFields.size() * sizeof(uint32_t);

struct LegacyMap {
  std::string name;
  std::array<uint32_t, kFields.size()> values{};
  GElf_Sym symbol{};     // as it was in the object
  int symbol_index = 0;  // of the global symbol that names the map
  uint32_t offset = 0;   // in the section ".maps"
  uint32_t size = 0;
};

using ElfHandle = std::unique_ptr<Elf, decltype([](Elf* elf) { elf_end(elf); })>;
using BtfHandle = std::unique_ptr<btf, decltype([](btf* types) { btf__free(types); })>;

std::unexpected<Error> elf_failure(std::string_view what) {
  const char* cause = elf_errmsg(-1);
  return fail(EINVAL, fmt::format("broken ELF file: {}: {}", what, cause ? cause : "unknown"));
}

bool is_native_object(Elf* elf) {
  GElf_Ehdr header;
  return elf && elf_kind(elf) == ELF_K_ELF && gelf_getclass(elf) == ELFCLASS64 &&
         gelf_getehdr(elf, &header) && header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_type == ET_REL;
}

std::string_view section_name(Elf* elf, Elf_Scn* section) {
  size_t names = 0;
  GElf_Shdr header;
  if (elf_getshdrstrndx(elf, &names) != 0 || !gelf_getshdr(section, &header)) return {};
  const char* name = elf_strptr(elf, names, header.sh_name);
  return name ? name : std::string_view();
}

// Only reads headers and names.
bool has_legacy_maps(std::vector<std::byte>& image) {
  const ElfHandle elf(elf_memory(reinterpret_cast<char*>(image.data()), image.size()));
  if (!is_native_object(elf.get())) return false;
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf.get(), section)))
    if (section_name(elf.get(), section) == kLegacySection) return true;
  return false;
}

// A file in memory: libelf makes a file longer only through a descriptor.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("object", MFD_CLOEXEC)) {}
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  int descriptor() const { return descriptor_; }

  bool write(std::span<const std::byte> bytes) const {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t count =
          pwrite(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
      if (count <= 0) return false;
      done += static_cast<size_t>(count);
    }
    return true;
  }

  bool read(std::span<std::byte> bytes) const {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t count =
          pread(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
      if (count <= 0) return false;
      done += static_cast<size_t>(count);
    }
    return true;
  }

 private:
  int descriptor_;
};

// The types of the object's maps. What is added goes behind what is there, so that the type numbers and
// string offsets in .BTF.ext stay right.
class MapTypes {
 public:
  explicit MapTypes(BtfHandle types) : types_(std::move(types)) {}

  // The BTF of the object, with DATASEC ".maps" naming `maps` beside the BTF maps that it named before.
  Result<std::vector<std::byte>> add(std::span<const LegacyMap> maps, uint32_t section_size) {
    collect_sections();
    byte_ = btf__add_int(types_.get(), "unsigned char", 1, 0);
    keep(byte_);
    for (const LegacyMap& map : maps) {
      const int variable = keep(
          btf__add_var(types_.get(), map.name.c_str(), BTF_VAR_GLOBAL_ALLOCATED, add_definition(map.values)));
      variables_.push_back({static_cast<uint32_t>(variable), map.offset, map.size});
    }
    std::ranges::sort(variables_, {}, &btf_var_secinfo::offset);
    // libbpf finds the offsets of all variables of a DATASEC without a size.
    keep(btf__add_datasec(types_.get(), kMapsSection, unplaced_ ? 0 : section_size));
    for (const btf_var_secinfo& variable : variables_)
      keep(btf__add_datasec_var_info(types_.get(), static_cast<int>(variable.type), variable.offset,
                                     variable.size));
    if (error_ != 0) return fail(-error_, fmt::format("the maps' types: {}", std::strerror(-error_)));
    for (const uint32_t id : replaced_) retire(id);
    return bytes();
  }

 private:
  int keep(int result) {
    if (result < 0 && error_ == 0) error_ = result;
    return result;
  }

  void collect_sections() {
    for (uint32_t id = 1; id < btf__type_cnt(types_.get()); ++id) {
      const btf_type* type = btf__type_by_id(types_.get(), id);
      const char* name = btf__name_by_offset(types_.get(), type->name_off);
      if (!btf_is_datasec(type) || !name) continue;
      if (name == kLegacySection) replaced_.push_back(id);
      if (std::strcmp(name, kMapsSection) == 0) {
        replaced_.push_back(id);
        unplaced_ = type->size == 0;
        const std::span old(btf_var_secinfos(type), btf_vlen(type));
        variables_.insert(variables_.end(), old.begin(), old.end());
      }
    }
  }

  // __uint(name, value): a pointer to an array of `value` elements. libbpf reads types only and the kernel
  // lets members overlap, so they all lie in the first bytes and the struct fits in the smallest bpf_map_def.
  // An array of bytes may have as many elements as a uint32_t can say; one of int may not.
  int add_definition(const std::array<uint32_t, kFields.size()>& values) {
    std::array<int, kFields.size()> pointers{};
    for (size_t i = 0; i < values.size(); ++i)
      pointers[i] =
          keep(btf__add_ptr(types_.get(), keep(btf__add_array(types_.get(), byte_, byte_, values[i]))));
    const int definition = keep(btf__add_struct(types_.get(), nullptr, sizeof(uint64_t)));
    for (size_t i = 0; i < values.size(); ++i)
      keep(btf__add_field(types_.get(), kFields[i], pointers[i], 0, 0));
    return definition;
  }

  // Makes an unused struct of a DATASEC: their records are of one length. libbpf refuses a DATASEC without a
  // section, and none can be removed without renumbering the types.
  void retire(uint32_t id) {
    auto* type = const_cast<btf_type*>(btf__type_by_id(types_.get(), id));
    const uint32_t count = btf_vlen(type);
    type->name_off = 0;
    type->info = BTF_KIND_STRUCT << 24 | count;
    type->size = 1;
    static_assert(sizeof(btf_member) == sizeof(btf_var_secinfo));
    const btf_member unused{.name_off = 0, .type = static_cast<uint32_t>(byte_), .offset = 0};
    std::fill_n(btf_members(type), count, unused);
  }

  Result<std::vector<std::byte>> bytes() {
    uint32_t size = 0;
    const auto* raw = static_cast<const std::byte*>(btf__raw_data(types_.get(), &size));
    if (!raw) return fail(ENOMEM, "the maps' types: out of memory");
    return std::vector(raw, raw + size);
  }

  BtfHandle types_;
  int byte_ = 0;
  int error_ = 0;
  bool unplaced_ = false;
  std::vector<uint32_t> replaced_;
  std::vector<btf_var_secinfo> variables_;
};

class Rewriter {
 public:
  explicit Rewriter(Elf* elf) : elf_(elf) {}

  Result<void> run() {
    if (auto found = find_sections(); !found) return found;
    if (auto read = read_symbols(); !read) return read;
    if (auto checked = check_layout(); !checked) return checked;
    if (auto placed = modern_ ? move_definitions() : rename(legacy_, kMapsSection); !placed) return placed;
    if (auto written = write_symbols(); !written) return written;
    if (auto retargeted = retarget_relocations(); !retargeted) return retargeted;
    return write_types();
  }

  // The bytes that run() added to sections.
  size_t growth() const { return growth_; }

 private:
  static size_t data_size(Elf_Scn* section) { return elf_getdata(section, nullptr)->d_size; }

  static std::span<std::byte> data_of(Elf_Scn* section) {
    const Elf_Data* data = elf_getdata(section, nullptr);
    return {static_cast<std::byte*>(data->d_buf), data->d_buf ? data->d_size : 0};
  }

  // Every section's data are read here, so that no later step, nor libelf when it moves them, finds them
  // missing.
  Result<void> find_sections() {
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf_, section))) {
      GElf_Shdr header;
      if (!gelf_getshdr(section, &header) || !elf_getdata(section, nullptr))
        return elf_failure(fmt::format("section {}", elf_ndxscn(section)));
      const std::string_view name = section_name(elf_, section);
      if (name == kLegacySection) {
        if (legacy_) return fail(EINVAL, "broken ELF file: two sections 'maps'");
        legacy_ = section;
      }
      if (name == kMapsSection) modern_ = section;
      if (name == kBtfSection) types_ = section;
      if (header.sh_type == SHT_SYMTAB) {
        symbols_ = section;
        symbol_names_ = header.sh_link;
      }
    }
    if (!legacy_ || !symbols_) return fail(EINVAL, "broken ELF file: maps without a symbol table");
    return {};
  }

  Result<void> read_symbols() {
    const size_t section = elf_ndxscn(legacy_);
    GElf_Sym symbol;
    for (int i = 0; gelf_getsym(elf_getdata(symbols_, nullptr), i, &symbol); ++i) {
      symbol_count_ = i + 1;
      if (symbol.st_shndx != section) continue;
      if (GELF_ST_TYPE(symbol.st_info) == STT_SECTION) {
        section_symbols_.push_back(i);
        continue;
      }
      const char* name = elf_strptr(elf_, symbol_names_, symbol.st_name);
      if (!name || !*name) return fail(EINVAL, fmt::format("symbol {} in section 'maps' has no name", i));
      auto map = read_definition(name, symbol);
      if (!map) return std::unexpected(map.error());
      map->symbol_index = i;
      maps_.push_back(std::move(*map));
    }
    if (maps_.empty()) return fail(EINVAL, "section 'maps' defines no map");
    return {};
  }

  Result<LegacyMap> read_definition(const char* name, const GElf_Sym& symbol) const {
    const std::span<const std::byte> data = data_of(legacy_);
    if (symbol.st_size < kDefinitionSize)
      return fail(EINVAL, fmt::format("map '{}': its definition has {} bytes, struct bpf_map_def {}", name,
                                      symbol.st_size, kDefinitionSize));
    if (symbol.st_value > data.size() || symbol.st_size > data.size() - symbol.st_value ||
        data.size() > UINT32_MAX)
      return fail(EINVAL, fmt::format("map '{}': its definition ends outside section 'maps'", name));
    LegacyMap map{.name = name, .symbol = symbol};
    const auto definition = data.subspan(symbol.st_value, symbol.st_size);
    std::memcpy(map.values.data(), definition.data(), kDefinitionSize);
    const auto rest = definition.subspan(kDefinitionSize);
    if (std::ranges::any_of(rest, [](std::byte byte) { return byte != std::byte{}; }))
      return fail(EINVAL,
                  fmt::format("map '{}': its definition sets fields beyond struct bpf_map_def", name));
    map.offset = static_cast<uint32_t>(symbol.st_value);
    map.size = static_cast<uint32_t>(symbol.st_size);
    return map;
  }

  Result<void> check_layout() {
    std::ranges::sort(maps_, {}, &LegacyMap::offset);
    for (size_t i = 1; i < maps_.size(); ++i) {
      const LegacyMap& before = maps_[i - 1];
      if (maps_[i].size != before.size)
        return fail(EINVAL, fmt::format("map '{}': its definition has {} bytes, that of '{}' {}",
                                        maps_[i].name, maps_[i].size, before.name, before.size));
      if (maps_[i].offset - before.offset < before.size)
        return fail(EINVAL, fmt::format("map '{}': its definition overlaps that of '{}'", maps_[i].name,
                                        before.name));
    }
    return {};
  }

  // The object has BTF maps as well: libbpf reads one section ".maps".
  Result<void> move_definitions() {
    const std::span<std::byte> old = data_of(modern_);
    std::vector<std::byte> both(old.begin(), old.end());
    both.resize((both.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment);
    const size_t base = both.size();
    const std::span<std::byte> moved = data_of(legacy_);
    both.insert(both.end(), moved.begin(), moved.end());
    if (both.size() > UINT32_MAX) return fail(EINVAL, "section '.maps' is too large");
    for (LegacyMap& map : maps_) map.offset += static_cast<uint32_t>(base);
    replace(modern_, std::move(both));
    return rename(legacy_, kMovedSection);
  }

  Elf_Scn* maps_section() const { return modern_ ? modern_ : legacy_; }

  // libbpf wants the map of a BTF variable to be a visible global symbol. A static map gets one of its own
  // behind the others, where global symbols belong.
  Result<void> write_symbols() {
    std::vector<std::byte> added;
    for (LegacyMap& map : maps_) {
      const bool global = GELF_ST_BIND(map.symbol.st_info) != STB_LOCAL;
      const unsigned char bind = global ? GELF_ST_BIND(map.symbol.st_info) : STB_GLOBAL;
      const Elf64_Sym symbol{
          .st_name = map.symbol.st_name,
          .st_info = static_cast<unsigned char>(GELF_ST_INFO(bind, STT_OBJECT)),
          .st_other = STV_DEFAULT,
          .st_shndx = static_cast<Elf64_Section>(elf_ndxscn(maps_section())),
          .st_value = map.offset,
          .st_size = map.size,
      };
      if (global) {
        GElf_Sym changed = symbol;
        if (!gelf_update_sym(elf_getdata(symbols_, nullptr), map.symbol_index, &changed))
          return elf_failure("symbol table");
        continue;
      }
      map.symbol_index = symbol_count_++;
      const auto bytes = std::as_bytes(std::span(&symbol, 1));
      added.insert(added.end(), bytes.begin(), bytes.end());
    }
    elf_flagdata(elf_getdata(symbols_, nullptr), ELF_C_SET, ELF_F_DIRTY);
    if (!added.empty()) append(symbols_, added);
    return {};
  }

  // Compilers refer to static variables by their section and an offset in the instruction, of which libbpf
  // looks at the section only.
  Result<void> retarget_relocations() {
    if (section_symbols_.empty()) return {};
    Elf_Scn* section = nullptr;
    while ((section = elf_nextscn(elf_, section))) {
      GElf_Shdr header;
      gelf_getshdr(section, &header);
      if (header.sh_type != SHT_REL) continue;
      Elf_Scn* target = elf_getscn(elf_, header.sh_info);
      GElf_Shdr target_header;
      if (!target || !gelf_getshdr(target, &target_header)) continue;
      if (!(target_header.sh_flags & SHF_EXECINSTR)) continue;
      if (auto done = retarget(elf_getdata(section, nullptr), target); !done) return done;
    }
    return {};
  }

  Result<void> retarget(Elf_Data* relocations, Elf_Scn* code_section) {
    const std::span<std::byte> code = data_of(code_section);
    GElf_Rel relocation;
    for (int i = 0; gelf_getrel(relocations, i, &relocation); ++i) {
      if (GELF_R_TYPE(relocation.r_info) != R_BPF_64_64) continue;
      const auto symbol = static_cast<int>(GELF_R_SYM(relocation.r_info));
      if (std::ranges::find(section_symbols_, symbol) == section_symbols_.end()) continue;
      constexpr size_t kImmediate = 4;
      uint32_t offset = 0;
      if (code.size() < kImmediate + sizeof offset ||
          relocation.r_offset > code.size() - kImmediate - sizeof offset)
        return fail(EINVAL, "broken ELF file: a relocation lies outside its section");
      std::byte* immediate = code.data() + relocation.r_offset + kImmediate;
      std::memcpy(&offset, immediate, sizeof offset);
      const auto map = std::ranges::find(maps_, offset, [](const LegacyMap& m) { return m.symbol.st_value; });
      if (map == maps_.end())
        return fail(EINVAL, fmt::format("the instruction at {:#x} of section '{}' refers to offset {:#x} of "
                                        "section 'maps', where no map begins",
                                        relocation.r_offset, section_name(elf_, code_section), offset));
      std::memset(immediate, 0, sizeof offset);
      elf_flagdata(elf_getdata(code_section, nullptr), ELF_C_SET, ELF_F_DIRTY);
      relocation.r_info = GELF_R_INFO(static_cast<uint64_t>(map->symbol_index), R_BPF_64_64);
      if (!gelf_update_rel(relocations, i, &relocation)) return elf_failure("relocations");
    }
    return {};
  }

  Result<void> write_types() {
    BtfHandle old;
    if (types_) {
      const std::span<std::byte> data = data_of(types_);
      old.reset(btf__new(data.data(), static_cast<uint32_t>(data.size())));
      if (!old) return fail(EINVAL, "section '.BTF' is broken");
    } else {
      old.reset(btf__new_empty());
      if (!old) return fail(ENOMEM, "the maps' types: out of memory");
      if (auto made = add_section(kBtfSection); !made) return made;
    }
    auto bytes = MapTypes(std::move(old)).add(maps_, static_cast<uint32_t>(data_size(maps_section())));
    if (!bytes) return std::unexpected(bytes.error());
    replace(types_, std::move(*bytes));
    return {};
  }

  Result<void> add_section(const char* name) {
    types_ = elf_newscn(elf_);
    GElf_Shdr header;
    if (!types_ || !gelf_getshdr(types_, &header)) return elf_failure("new section");
    header.sh_type = SHT_PROGBITS;
    header.sh_addralign = sizeof(uint32_t);
    Elf_Data* data = elf_newdata(types_);
    if (!data || !gelf_update_shdr(types_, &header)) return elf_failure("new section");
    data->d_type = ELF_T_BYTE;
    data->d_align = header.sh_addralign;
    return rename(types_, name);
  }

  Result<void> rename(Elf_Scn* section, const char* name) {
    size_t index = 0;
    if (elf_getshdrstrndx(elf_, &index) != 0) return elf_failure("section names");
    Elf_Scn* names = elf_getscn(elf_, index);
    GElf_Shdr header;
    if (!names || !gelf_getshdr(section, &header)) return elf_failure("section names");
    header.sh_name = static_cast<uint32_t>(data_of(names).size());
    append(names, std::as_bytes(std::span(name, std::strlen(name) + 1)));
    if (!gelf_update_shdr(section, &header)) return elf_failure("section names");
    return {};
  }

  void append(Elf_Scn* section, std::span<const std::byte> bytes) {
    const std::span<std::byte> old = data_of(section);
    std::vector<std::byte> longer(old.begin(), old.end());
    longer.insert(longer.end(), bytes.begin(), bytes.end());
    replace(section, std::move(longer));
  }

  void replace(Elf_Scn* section, std::vector<std::byte> bytes) {
    growth_ += bytes.size();
    std::vector<std::byte>& kept = buffers_.emplace_back(std::move(bytes));
    Elf_Data* data = elf_getdata(section, nullptr);
    data->d_buf = kept.data();
    data->d_size = kept.size();
    elf_flagdata(data, ELF_C_SET, ELF_F_DIRTY);
  }

  Elf* elf_;
  Elf_Scn* legacy_ = nullptr;
  Elf_Scn* modern_ = nullptr;
  Elf_Scn* types_ = nullptr;
  Elf_Scn* symbols_ = nullptr;
  size_t symbol_names_ = 0;
  int symbol_count_ = 0;
  std::vector<int> section_symbols_;  // of the section "maps"
  std::vector<LegacyMap> maps_;       // by offset
  size_t growth_ = 0;
  std::deque<std::vector<std::byte>> buffers_;  // new data of sections; libelf only borrows them
};

// Sections of a broken file may overlap or ask for any alignment: written one after the other they could fill
// the memory.
bool is_plausible_size(off_t size, size_t original, size_t growth) {
  constexpr size_t kAlignment = 65536;
  return size > 0 && static_cast<size_t>(size) <= 2 * original + growth + kAlignment;
}

}  // namespace

Result<void> rewrite_legacy_maps(std::vector<std::byte>& image) {
  if (elf_version(EV_CURRENT) == EV_NONE) return elf_failure("libelf");
  if (!has_legacy_maps(image)) return {};
  const MemoryFile file;
  if (file.descriptor() < 0 || !file.write(image)) return fail(errno, "no memory file for the object");
  const ElfHandle elf(elf_begin(file.descriptor(), ELF_C_RDWR, nullptr));
  if (!is_native_object(elf.get())) return elf_failure("header");
  Rewriter rewriter(elf.get());
  if (auto rewritten = rewriter.run(); !rewritten) return rewritten;
  const off_t size = elf_update(elf.get(), ELF_C_NULL);
  if (size < 0) return elf_failure("layout");
  if (!is_plausible_size(size, image.size(), rewriter.growth()))
    return fail(EINVAL, fmt::format("broken ELF file: its sections would take {} bytes", size));
  if (elf_update(elf.get(), ELF_C_WRITE) != size) return elf_failure("layout");
  std::vector<std::byte> written(static_cast<size_t>(size));
  if (!file.read(written)) return fail(EIO, "the rewritten object cannot be read back");
  image = std::move(written);
  return {};
}

}  // namespace skep::loader
