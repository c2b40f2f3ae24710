#include "loader/legacy_maps.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>

#include "tests/kernel_access.hpp"

namespace skep::loader {
namespace {

using Image = std::vector<std::byte>;
using ObjectHandle = std::unique_ptr<bpf_object, decltype([](bpf_object* o) { bpf_object__close(o); })>;

Image read_object(const std::string& name) {
  std::ifstream file(std::string(SKEP_BPF_DIR) + "/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Image image(text.size());
  std::memcpy(image.data(), text.data(), text.size());
  return image;
}

Image rewritten(const std::string& name) {
  Image image = read_object(name);
  const auto result = rewrite_legacy_maps(image);
  EXPECT_TRUE(result) << (result ? "" : result.error().message);
  return image;
}

ObjectHandle open_object(const Image& image) {
  return ObjectHandle(bpf_object__open_mem(image.data(), image.size(), nullptr));
}

struct Attributes {
  std::string name;
  uint32_t type, key_size, value_size, max_entries, flags;
  bool operator==(const Attributes&) const = default;
};

void PrintTo(const Attributes& a, std::ostream* out) {
  *out << a.name << ": type " << a.type << " key " << a.key_size << " value " << a.value_size << " entries "
       << a.max_entries << " flags " << a.flags;
}

// Of the maps that the object's author defined, by name.
std::vector<Attributes> maps_of(const bpf_object* object) {
  std::vector<Attributes> all;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (bpf_map__is_internal(map)) continue;
    all.push_back({bpf_map__name(map), bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map),
                   bpf_map__max_entries(map), bpf_map__map_flags(map)});
  }
  std::ranges::sort(all, {}, &Attributes::name);
  return all;
}

const Attributes kCounts{"counts", BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0};
const Attributes kHiddenCounts{"hidden_counts", BPF_MAP_TYPE_ARRAY, 4, 12, 5, 0};
const Attributes kHiddenTable{"hidden_table", BPF_MAP_TYPE_HASH, 4, 8, 7, 0};
const Attributes kSmallTable{"small_table", BPF_MAP_TYPE_HASH, 4, 8, 9, 0};
const Attributes kTable{"table", BPF_MAP_TYPE_HASH, 4, 8, 0x80000000, BPF_F_NO_PREALLOC};
const std::vector<Attributes> kAllMaps{kCounts, kHiddenCounts, kHiddenTable, kSmallTable, kTable};

struct Section {
  Elf64_Shdr header;
  std::string name;
  Image data;
};

// Read without libelf, which wrote them.
std::vector<Section> sections_of(const Image& image) {
  Elf64_Ehdr elf;
  std::memcpy(&elf, image.data(), sizeof elf);
  std::vector<Section> sections(elf.e_shnum);
  for (size_t i = 0; i < sections.size(); ++i)
    std::memcpy(&sections[i].header, image.data() + elf.e_shoff + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
  const auto* names =
      reinterpret_cast<const char*>(image.data() + sections.at(elf.e_shstrndx).header.sh_offset);
  for (Section& section : sections) {
    section.name = names + section.header.sh_name;
    if (section.header.sh_type == SHT_NOBITS) continue;
    const std::byte* begin = image.data() + section.header.sh_offset;
    section.data.assign(begin, begin + section.header.sh_size);
  }
  return sections;
}

const Section* find_section(const std::vector<Section>& sections, const std::string& name) {
  const auto found = std::ranges::find(sections, name, &Section::name);
  return found == sections.end() ? nullptr : &*found;
}

class LegacyMapsOpen : public testing::TestWithParam<std::pair<const char*, std::vector<Attributes>>> {};

TEST_P(LegacyMapsOpen, LibbpfSeesTheirAttributes) {
  const Image image = rewritten(GetParam().first);
  const ObjectHandle object = open_object(image);
  ASSERT_TRUE(object) << std::strerror(errno);
  EXPECT_EQ(maps_of(object.get()), GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(Objects, LegacyMapsOpen,
                         testing::Values(std::pair("legacy_maps.bpf.o", kAllMaps),
                                         std::pair("legacy_maps_plain_static.bpf.o", kAllMaps),
                                         std::pair("legacy_maps_long.bpf.o", kAllMaps),
                                         std::pair("legacy_maps_plain.bpf.o",
                                                   std::vector<Attributes>{kCounts, kSmallTable, kTable}),
                                         std::pair("mixed_maps.bpf.o",
                                                   std::vector<Attributes>{
                                                       {"hidden_legacy", BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0},
                                                       {"legacy", BPF_MAP_TYPE_ARRAY, 4, 8, 3, 0},
                                                       {"modern", BPF_MAP_TYPE_ARRAY, 4, 8, 2, 0},
                                                       {"modern_table", BPF_MAP_TYPE_HASH, 4, 8, 5, 0}})),
                         [](const auto& parameter) {
                           std::string name = parameter.param.first;
                           return name.substr(0, name.find('.'));
                         });

TEST(LegacyMaps, LibbpfRefusesThemUnlessRewritten) {
  libbpf_set_print(nullptr);
  EXPECT_FALSE(open_object(read_object("legacy_maps.bpf.o")));
}

TEST(LegacyMaps, SectionBecomesDotMaps) {
  const auto before = sections_of(read_object("legacy_maps.bpf.o"));
  const auto after = sections_of(rewritten("legacy_maps.bpf.o"));
  ASSERT_NE(find_section(before, "maps"), nullptr);
  EXPECT_EQ(find_section(after, "maps"), nullptr);
  ASSERT_NE(find_section(after, ".maps"), nullptr);
  EXPECT_EQ(find_section(after, ".maps")->data, find_section(before, "maps")->data);
  EXPECT_EQ(find_section(after, ".maps") - after.data(), find_section(before, "maps") - before.data());
}

TEST(LegacyMaps, OneDatasecNamesThemByOffsetAndSize) {
  const auto sections = sections_of(rewritten("legacy_maps.bpf.o"));
  const Image& raw = find_section(sections, ".BTF")->data;
  const std::unique_ptr<btf, decltype(&btf__free)> types(
      btf__new(raw.data(), static_cast<uint32_t>(raw.size())), &btf__free);
  ASSERT_TRUE(types);
  EXPECT_LT(btf__find_by_name_kind(types.get(), "maps", BTF_KIND_DATASEC), 0);
  const int id = btf__find_by_name_kind(types.get(), ".maps", BTF_KIND_DATASEC);
  ASSERT_GT(id, 0);
  const btf_type* section = btf__type_by_id(types.get(), static_cast<uint32_t>(id));
  EXPECT_EQ(section->size, 100);
  ASSERT_EQ(btf_vlen(section), 5);
  for (uint32_t i = 0; i < 5; ++i) {
    const btf_var_secinfo& variable = btf_var_secinfos(section)[i];
    EXPECT_EQ(variable.offset, 20 * i);
    EXPECT_EQ(variable.size, 20);
    const btf_type* type = btf__type_by_id(types.get(), variable.type);
    ASSERT_TRUE(btf_is_var(type));
    EXPECT_EQ(btf_var(type)->linkage, static_cast<uint32_t>(BTF_VAR_GLOBAL_ALLOCATED));
  }
}

// Line and function information refers to strings by offset and to types by number.
TEST(LegacyMaps, LineInformationKeepsItsMeaning) {
  const auto before = sections_of(read_object("legacy_maps.bpf.o"));
  const auto after = sections_of(rewritten("legacy_maps.bpf.o"));
  ASSERT_NE(find_section(before, ".BTF.ext"), nullptr);
  EXPECT_EQ(find_section(after, ".BTF.ext")->data, find_section(before, ".BTF.ext")->data);
  const Image& old_raw = find_section(before, ".BTF")->data;
  const Image& new_raw = find_section(after, ".BTF")->data;
  const std::unique_ptr<btf, decltype(&btf__free)> old_types(
      btf__new(old_raw.data(), static_cast<uint32_t>(old_raw.size())), &btf__free);
  const std::unique_ptr<btf, decltype(&btf__free)> new_types(
      btf__new(new_raw.data(), static_cast<uint32_t>(new_raw.size())), &btf__free);
  ASSERT_TRUE(old_types && new_types);
  ASSERT_GT(btf__type_cnt(old_types.get()), 10u);
  int functions = 0;
  for (uint32_t id = 1; id < btf__type_cnt(old_types.get()); ++id) {
    const btf_type* type = btf__type_by_id(old_types.get(), id);
    if (btf_is_datasec(type)) continue;
    const btf_type* same = btf__type_by_id(new_types.get(), id);
    EXPECT_EQ(std::memcmp(type, same, sizeof *type), 0) << id;
    EXPECT_STREQ(btf__name_by_offset(new_types.get(), type->name_off),
                 btf__name_by_offset(old_types.get(), type->name_off));
    if (btf_is_func(type)) ++functions;
  }
  EXPECT_EQ(functions, 2);
  const btf_header* header = reinterpret_cast<const btf_header*>(old_raw.data());
  for (uint32_t offset = 0; offset < header->str_len; ++offset)
    ASSERT_STREQ(btf__str_by_offset(new_types.get(), offset), btf__str_by_offset(old_types.get(), offset));
}

TEST(LegacyMaps, ObjectsWithoutThemStayAsTheyAre) {
  Image image = rewritten("legacy_maps.bpf.o");
  const Image before = image;
  const std::byte* data = image.data();
  ASSERT_TRUE(rewrite_legacy_maps(image));
  EXPECT_EQ(image, before);
  EXPECT_EQ(image.data(), data);
}

TEST(LegacyMaps, OtherFilesStayAsTheyAre) {
  for (const size_t size : {0u, 1u, 4u, 16u, 64u, 4096u}) {
    Image image(size, std::byte{0x7f});
    const Image before = image;
    EXPECT_TRUE(rewrite_legacy_maps(image));
    EXPECT_EQ(image, before);
  }
}

class LegacyMapsRefused : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(LegacyMapsRefused, SaysWhichAndWhy) {
  Image image = read_object(GetParam().first);
  const Image before = image;
  const auto result = rewrite_legacy_maps(image);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, EINVAL);
  EXPECT_EQ(result.error().message, GetParam().second);
  EXPECT_EQ(image, before);
}

INSTANTIATE_TEST_SUITE_P(
    Objects, LegacyMapsRefused,
    testing::Values(
        std::pair("legacy_short.bpf.o", "map 'first': its definition has 16 bytes, struct bpf_map_def 20"),
        std::pair("legacy_extra.bpf.o", "map 'broken': its definition sets fields beyond struct bpf_map_def"),
        std::pair("legacy_uneven.bpf.o", "map 'uneven': its definition has 24 bytes, that of 'broken' 20"),
        std::pair("legacy_between.bpf.o",
                  "the instruction at 0x0 of section 'xdp' refers to offset 0x2c of section 'maps', where no "
                  "map begins"),
        std::pair("legacy_none.bpf.o", "map 'nothing': its definition has 4 bytes, struct bpf_map_def 20")),
    [](const auto& parameter) {
      std::string name = parameter.param.first;
      return name.substr(0, name.find('.'));
    });

class LegacyMapsInKernel : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!test::kernel_allows_bpf()) GTEST_SKIP() << "bpf(2): " << std::strerror(errno);
    image_ = rewritten(GetParam());
    object_ = open_object(image_);
    ASSERT_TRUE(object_);
    // The kernel reserves buckets for every entry that there may be.
    bpf_map__set_max_entries(bpf_object__find_map_by_name(object_.get(), "table"), 11);
    ASSERT_EQ(bpf_object__load(object_.get()), 0);
  }

  void run(const char* name) {
    std::array<unsigned char, 64> packet{};
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = packet.size();
    const bpf_program* program = bpf_object__find_program_by_name(object_.get(), name);
    ASSERT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0);
    EXPECT_EQ(options.retval, 2u);  // XDP_PASS
  }

  uint64_t value(const char* map, uint32_t key) {
    std::array<uint64_t, 2> found{};
    const int descriptor = bpf_object__find_map_fd_by_name(object_.get(), map);
    EXPECT_EQ(bpf_map_lookup_elem(descriptor, &key, found.data()), 0) << map;
    return found[0];
  }

  Image image_;
  ObjectHandle object_;
};

TEST_P(LegacyMapsInKernel, EachInstructionHasItsMap) {
  const bool has_static = std::string(GetParam()) != "legacy_maps_plain.bpf.o";
  run("count");
  run("count_in_table");
  EXPECT_EQ(value("counts", 0), 1);
  if (has_static) {
    EXPECT_EQ(value("hidden_counts", 0), 2);
    EXPECT_EQ(value("hidden_table", 3), 3);
  }
  EXPECT_EQ(value("small_table", 4), 4);
  EXPECT_EQ(value("table", 5), 5);
}

TEST_P(LegacyMapsInKernel, KernelAcceptsTheTypes) { EXPECT_GE(bpf_object__btf_fd(object_.get()), 0); }

TEST_P(LegacyMapsInKernel, LinesArriveWhereThereAreAny) {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  const bpf_program* program = bpf_object__find_program_by_name(object_.get(), "count");
  ASSERT_EQ(bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size), 0);
  const bool has_lines = std::string(GetParam()).find("plain") == std::string::npos;
  EXPECT_EQ(info.nr_line_info > 0, has_lines);
  EXPECT_EQ(info.nr_func_info, has_lines ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(Objects, LegacyMapsInKernel,
                         testing::Values("legacy_maps.bpf.o", "legacy_maps_plain.bpf.o",
                                         "legacy_maps_plain_static.bpf.o", "legacy_maps_long.bpf.o"),
                         [](const auto& parameter) {
                           const std::string name = parameter.param;
                           return name.substr(0, name.find('.'));
                         });

TEST(LegacyMapsMixed, EachInstructionHasItsMap) {
  if (!test::kernel_allows_bpf()) GTEST_SKIP() << "bpf(2): " << std::strerror(errno);
  const Image image = rewritten("mixed_maps.bpf.o");
  const ObjectHandle object = open_object(image);
  ASSERT_TRUE(object);
  ASSERT_EQ(bpf_object__load(object.get()), 0);
  EXPECT_GE(bpf_object__btf_fd(object.get()), 0);
  std::array<unsigned char, 64> packet{};
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = packet.data();
  options.data_size_in = packet.size();
  const bpf_program* program = bpf_object__find_program_by_name(object.get(), "count");
  ASSERT_EQ(bpf_prog_test_run_opts(bpf_program__fd(program), &options), 0);
  constexpr std::array<const char*, 4> kMaps{"modern", "legacy", "hidden_legacy", "modern_table"};
  for (size_t i = 0; i < kMaps.size(); ++i) {
    const uint32_t key = 0;
    uint64_t value = 0;
    const int descriptor = bpf_object__find_map_fd_by_name(object.get(), kMaps[i]);
    ASSERT_EQ(bpf_map_lookup_elem(descriptor, &key, &value), 0) << kMaps[i];
    EXPECT_EQ(value, i + 1) << kMaps[i];
  }
}

// A broken file is refused or left alone, and never makes a file of another order of size.
void expect_survives(const Image& broken) {
  Image image = broken;
  const auto result = rewrite_legacy_maps(image);
  if (!result) {
    EXPECT_NE(result.error().code, 0);
    EXPECT_EQ(image, broken);
  }
  EXPECT_LE(image.size(), 8 * broken.size() + 65536);
}

class BrokenObjects : public testing::TestWithParam<const char*> {};

TEST_P(BrokenObjects, Truncated) {
  const Image image = read_object(GetParam());
  for (size_t size = 0; size < image.size(); size += 3)
    expect_survives(Image(image.begin(), image.begin() + static_cast<ptrdiff_t>(size)));
}

TEST_P(BrokenObjects, OneBitOfEachHeaderByteFlipped) {
  const Image image = read_object(GetParam());
  Elf64_Ehdr elf;
  std::memcpy(&elf, image.data(), sizeof elf);
  std::mt19937 random(1);
  const auto flip = [&](size_t at) {
    Image broken = image;
    broken[at] ^= std::byte{1} << (random() % 8);
    expect_survives(broken);
  };
  for (size_t at = 0; at < sizeof elf; ++at) flip(at);
  for (size_t at = elf.e_shoff; at < elf.e_shoff + elf.e_shnum * sizeof(Elf64_Shdr); ++at) flip(at);
  const auto sections = sections_of(image);
  for (const char* name : {".BTF", ".symtab", "maps", ".relxdp"}) {
    const Section* section = find_section(sections, name);
    if (!section) continue;
    for (size_t i = 0; i < section->data.size(); ++i) flip(section->header.sh_offset + i);
  }
}

TEST_P(BrokenObjects, SeveralBytesReplaced) {
  const Image image = read_object(GetParam());
  std::mt19937 random(2);
  for (int round = 0; round < 1000; ++round) {
    Image broken = image;
    for (unsigned i = 0; i < 1 + random() % 8; ++i)
      broken[random() % broken.size()] = static_cast<std::byte>(random());
    expect_survives(broken);
  }
}

TEST_P(BrokenObjects, HugeAlignment) {
  Image image = read_object(GetParam());
  Elf64_Ehdr elf;
  std::memcpy(&elf, image.data(), sizeof elf);
  const uint64_t alignment = uint64_t{1} << 32;
  const size_t at = elf.e_shoff + 2 * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_addralign);
  std::memcpy(image.data() + at, &alignment, sizeof alignment);
  const auto result = rewrite_legacy_maps(image);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, EINVAL);
}

INSTANTIATE_TEST_SUITE_P(Objects, BrokenObjects,
                         testing::Values("legacy_maps.bpf.o", "legacy_maps_plain_static.bpf.o",
                                         "mixed_maps.bpf.o"),
                         [](const auto& parameter) {
                           const std::string name = parameter.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace skep::loader
