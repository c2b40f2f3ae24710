#include "btf_bytes.hpp"

#include <cerrno>

#include "bpf_fixture.hpp"

namespace skep::test {
namespace {

class Info : public Contract {
 protected:
  // Two functions with their lines: main calls f.
  struct Debug {
    Fd btf;
    std::vector<bpf_insn> code{insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 1), exit_insn(), mov(0, 3),
                               exit_insn()};
    std::array<bpf_func_info, 2> functions{};
    std::array<bpf_line_info, 3> lines{};
    bpf_attr attributes{};
  };
  std::unique_ptr<Debug> debug_program() {
    auto debug = std::make_unique<Debug>();
    BtfBytes bytes;
    const uint32_t integer = bytes.integer("int", 4);
    const uint32_t prototype = bytes.type(0, BTF_KIND_FUNC_PROTO, 1, integer, {bytes.string("ctx"), integer});
    const uint32_t entry = bytes.type(bytes.string("entry"), BTF_KIND_FUNC, 0, prototype);
    const uint32_t callee = bytes.type(bytes.string("callee"), BTF_KIND_FUNC, 0, prototype);
    const uint32_t file = bytes.string("/src/prog.c");
    const uint32_t text = bytes.string("  return callee(ctx);");
    const auto raw = bytes.bytes();
    bpf_attr attributes{};
    attributes.btf = pointer(raw.data());
    attributes.btf_size = static_cast<uint32_t>(raw.size());
    debug->btf = Fd(call(BPF_BTF_LOAD, attributes));
    debug->functions = {{{0, entry}, {2, callee}}};
    debug->lines = {{{0, file, text, 10 << 10 | 3}, {1, file, text, 11 << 10}, {2, file, text, 12 << 10}}};
    bpf_attr& load = debug->attributes;
    load = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, debug->code);
    load.prog_btf_fd = debug->btf.field();
    load.func_info = pointer(debug->functions.data());
    load.func_info_cnt = 2;
    load.func_info_rec_size = sizeof(bpf_func_info);
    load.line_info = pointer(debug->lines.data());
    load.line_info_cnt = 3;
    load.line_info_rec_size = sizeof(bpf_line_info);
    return debug;
  }
};
SKEP_CONTRACT(Info);

TEST_P(Info, OfMaps) {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_HASH;
  attributes.key_size = 6;
  attributes.value_size = 10;
  attributes.max_entries = 20;
  attributes.map_flags = BPF_F_NO_PREALLOC;
  std::strcpy(attributes.map_name, "m_1.x");
  const Fd map(create_map(attributes));
  ASSERT_GE(map.get(), 0);
  bpf_map_info out{};
  ASSERT_EQ(info(map, out), 0);
  EXPECT_EQ(out.type, BPF_MAP_TYPE_HASH);
  EXPECT_NE(out.id, 0U);
  EXPECT_EQ(out.key_size, 6U);
  EXPECT_EQ(out.value_size, 10U);
  EXPECT_EQ(out.max_entries, 20U);
  EXPECT_EQ(out.map_flags, BPF_F_NO_PREALLOC);
  EXPECT_STREQ(out.name, "m_1.x");
  EXPECT_EQ(out.btf_id, 0U);
}

TEST_P(Info, OfPrograms) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 1));
  const std::vector<bpf_insn> code{insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE, 0, map.get()),
                                   insn(0, 0, 0, 0, 4), mov(0, 2), exit_insn()};
  bpf_attr attributes = load_attributes(BPF_PROG_TYPE_SOCKET_FILTER, code);
  std::strcpy(attributes.prog_name, "p_2");
  const Fd program(load(attributes));
  ASSERT_GE(program.get(), 0);
  bpf_prog_info out{};
  std::array<uint32_t, 4> ids{};
  std::vector<bpf_insn> dumped(8);
  out.map_ids = pointer(ids.data());
  out.nr_map_ids = 4;
  out.xlated_prog_insns = pointer(dumped.data());
  out.xlated_prog_len = static_cast<uint32_t>(dumped.size() * sizeof(bpf_insn));
  ASSERT_EQ(info(program, out), 0);
  EXPECT_EQ(out.type, BPF_PROG_TYPE_SOCKET_FILTER);
  EXPECT_STREQ(out.name, "p_2");
  EXPECT_EQ(out.gpl_compatible, 1U);
  EXPECT_NE(out.load_time, 0U);
  EXPECT_EQ(out.created_by_uid, getuid());
  EXPECT_EQ(out.nr_map_ids, 1U);
  EXPECT_EQ(ids[0], map_id(map));
  EXPECT_EQ(out.xlated_prog_len, 4 * sizeof(bpf_insn));
  EXPECT_EQ(dumped[0].src_reg, BPF_PSEUDO_MAP_VALUE);
  EXPECT_EQ(dumped[0].imm, static_cast<int32_t>(ids[0]));
  EXPECT_EQ(dumped[1].imm, 4);
  EXPECT_EQ(dumped[2].imm, 2);
  EXPECT_EQ(out.nr_func_info, 0U);
  EXPECT_EQ(out.nr_line_info, 0U);
  EXPECT_EQ(out.nr_prog_tags, 1U);
  EXPECT_EQ(out.btf_id, 0U);
}

TEST_P(Info, TagsNameTheCode) {
  const auto tag = [&](std::span<const bpf_insn> code, uint32_t type) {
    const Fd program(load(type, code));
    bpf_prog_info out{};
    EXPECT_EQ(info(program, out), 0);
    return std::string(reinterpret_cast<const char*>(out.tag), sizeof out.tag);
  };
  EXPECT_EQ(tag(return_value(1), BPF_PROG_TYPE_XDP), tag(return_value(1), BPF_PROG_TYPE_SOCKET_FILTER));
  EXPECT_NE(tag(return_value(1), BPF_PROG_TYPE_XDP), tag(return_value(2), BPF_PROG_TYPE_XDP));
  // Linux 6.18 made it the beginning of a SHA-256; until then it is that of a SHA-1, here of
  // b7 00 00 00 01 00 00 00 95 00 00 00 00 00 00 00.
  if (on_host()) return;
  EXPECT_EQ(tag(return_value(1), BPF_PROG_TYPE_XDP), std::string("\x57\xcd\x31\x1f\x2e\x27\x36\x6b"));
}

TEST_P(Info, OfFunctionsAndLines) {
  const auto debug = debug_program();
  const Fd program(load(debug->attributes));
  ASSERT_GE(program.get(), 0);
  bpf_prog_info out{};
  std::array<bpf_func_info, 4> functions{};
  std::array<bpf_line_info, 4> lines{};
  out.func_info = pointer(functions.data());
  out.nr_func_info = 4;
  out.func_info_rec_size = sizeof(bpf_func_info);
  out.line_info = pointer(lines.data());
  out.nr_line_info = 4;
  out.line_info_rec_size = sizeof(bpf_line_info);
  ASSERT_EQ(info(program, out), 0);
  EXPECT_EQ(out.nr_func_info, 2U);
  EXPECT_EQ(out.nr_line_info, 3U);
  EXPECT_EQ(functions[1].insn_off, 2U);
  EXPECT_EQ(functions[1].type_id, debug->functions[1].type_id);
  EXPECT_EQ(lines[0].line_col, 10U << 10 | 3);
  EXPECT_EQ(out.nr_jited_ksyms, 2U);
  bpf_btf_info of{};
  ASSERT_EQ(info(debug->btf, of), 0);
  EXPECT_EQ(out.btf_id, of.id);
}

TEST_P(Info, RefusedDebugInformation) {
  const auto refused = [&](auto change) {
    const auto debug = debug_program();
    change(*debug);
    return load(debug->attributes);
  };
  using D = Debug;
  EXPECT_EQ(refused([](D& d) { d.attributes.prog_btf_fd = 0x7fffffff; }), -EBADF);
  EXPECT_EQ(refused([](D& d) { d.attributes.func_info_rec_size = 4; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.attributes.func_info_rec_size = 256; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.attributes.func_info_cnt = 1; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.functions[0].insn_off = 1; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.functions[1].insn_off = 3; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.functions[1].insn_off = 0; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.functions[1].type_id = 1; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.attributes.func_info = kNowhere; }), -EFAULT);
  EXPECT_EQ(refused([](D& d) { d.attributes.line_info_rec_size = 12; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.lines[1].insn_off = 0; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.lines[2].insn_off = 4; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.lines[2].insn_off = 3; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.lines[1].file_name_off = 99999; }), -EINVAL);
  EXPECT_EQ(refused([](D& d) { d.attributes.line_info = kNowhere; }), -EFAULT);
  // Records with a tail that says something.
  const auto debug = debug_program();
  struct Longer {
    bpf_func_info known;
    uint32_t tail;
  };
  std::array<Longer, 2> longer{{{debug->functions[0], 0}, {debug->functions[1], 0}}};
  debug->attributes.func_info = pointer(longer.data());
  debug->attributes.func_info_rec_size = sizeof(Longer);
  EXPECT_GE(Fd(load(debug->attributes)).get(), 0);
  longer[1].tail = 1;
  EXPECT_EQ(load(debug->attributes), -E2BIG);
}

TEST_P(Info, RefusedAttributes) {
  const Fd map(create_map(BPF_MAP_TYPE_ARRAY, 4, 4, 1));
  const Fd program(load(BPF_PROG_TYPE_XDP, return_value(1)));
  alignas(8) std::array<std::byte, 4096> bytes{};
  bpf_attr attributes{};
  attributes.info.info = pointer(bytes.data());
  attributes.info.info_len = bytes.size();
  for (const Fd* object : {&map, &program}) {
    bytes = {};
    attributes.info.bpf_fd = object->field();
    attributes.info.info_len = bytes.size();
    EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), 0);
    EXPECT_LT(attributes.info.info_len, 512U);
    attributes.info.info_len = bytes.size() + 1;
    EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), -E2BIG);
    bytes = {};
    bytes.back() = std::byte{1};
    attributes.info.info_len = bytes.size();
    EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), -E2BIG);
    // Short ones get what fits.
    bytes.back() = std::byte{0};
    attributes.info.info_len = 8;
    EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), 0);
    EXPECT_EQ(attributes.info.info_len, 8U);
    EXPECT_EQ(bytes[8], std::byte{0});
  }
  attributes.info.info = kNowhere;
  EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), -EFAULT);
  attributes.info.bpf_fd = 0x7fffffff;
  EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), -EBADFD);
  attributes.info.bpf_fd = 0;
  EXPECT_EQ(call(BPF_OBJ_GET_INFO_BY_FD, attributes), -EINVAL);
  bpf_prog_info out{};
  out.func_info_rec_size = 4;
  EXPECT_EQ(info(program, out), -EINVAL);
}

}  // namespace
}  // namespace skep::test
