#include "btf_bytes.hpp"

#include <cerrno>

#include "bpf_fixture.hpp"

namespace skep::test {
namespace {

class Btf : public Contract {
 protected:
  long load_btf(std::span<const std::byte> bytes) {
    bpf_attr attributes{};
    attributes.btf = pointer(bytes.data());
    attributes.btf_size = static_cast<uint32_t>(bytes.size());
    return call(BPF_BTF_LOAD, attributes);
  }
  // 0 when it is accepted.
  long verdict(const BtfBytes& btf) {
    const long result = load_btf(btf.bytes());
    if (result < 0) return result;
    const Fd close(result);
    return 0;
  }
};
SKEP_CONTRACT(Btf);

TEST_P(Btf, EveryKind) {
  BtfBytes btf;
  const uint32_t integer = btf.integer("int", 4);               // 1
  const uint32_t pointer_to = btf.type(0, BTF_KIND_PTR, 0, 4);  // 2
  btf.type(0, BTF_KIND_ARRAY, 0, 0, {integer, integer, 8});     // 3
  btf.type(btf.string("s"), BTF_KIND_STRUCT, 2, 40,
           {btf.string("next"), pointer_to, 0, btf.string("data"), 3, 64});                               // 4
  btf.type(btf.string("u"), BTF_KIND_UNION, 2, 8, {btf.string("a"), integer, 0, btf.string("b"), 2, 0});  // 5
  btf.type(btf.string("e"), BTF_KIND_ENUM, 1, 4, {btf.string("E_ONE"), 1});                               // 6
  btf.type(btf.string("f"), BTF_KIND_FWD, 0, 0);                                                          // 7
  btf.type(btf.string("t"), BTF_KIND_TYPEDEF, 0, 10);                                                     // 8
  btf.type(0, BTF_KIND_VOLATILE, 0, 0);                                                                   // 9
  btf.type(0, BTF_KIND_CONST, 0, integer);        // 10
  btf.type(0, BTF_KIND_RESTRICT, 0, pointer_to);  // 11
  const uint32_t prototype =
      btf.type(0, BTF_KIND_FUNC_PROTO, 2, integer, {btf.string("x"), 2, btf.string("y"), 8});
  const uint32_t function = btf.type(btf.string("fn"), BTF_KIND_FUNC, BTF_FUNC_GLOBAL, prototype);
  const uint32_t variable = btf.type(btf.string("v"), BTF_KIND_VAR, 0, 8, {BTF_VAR_GLOBAL_ALLOCATED});
  btf.type(btf.string(".data"), BTF_KIND_DATASEC, 1, 4, {variable, 0, 4});
  btf.type(btf.string("double"), BTF_KIND_FLOAT, 0, 8);
  btf.type(btf.string("tag"), BTF_KIND_DECL_TAG, 0, function, {1});
  btf.type(btf.string("tag"), BTF_KIND_TYPE_TAG, 0, integer);
  btf.type(btf.string("e64"), BTF_KIND_ENUM64, 1, 8, {btf.string("E_BIG"), 0, 1});
  EXPECT_EQ(verdict(btf), 0);
}

TEST_P(Btf, Headers) {
  BtfBytes good;
  good.integer("int", 4);
  ASSERT_EQ(verdict(good), 0);
  const auto with = [&](auto change) {
    BtfBytes btf = good;
    change(btf.header);
    return verdict(btf);
  };
  EXPECT_EQ(with([](btf_header& h) { h.magic = 0x1234; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.version = 2; }), -kNotSupported);
  EXPECT_EQ(with([](btf_header& h) { h.flags = 1; }), -kNotSupported);
  EXPECT_EQ(with([](btf_header& h) { h.hdr_len = 4096; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.type_off = 4; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.type_len = 12; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.str_off = 12; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.str_len = 2; }), -EINVAL);
  EXPECT_EQ(with([](btf_header& h) { h.str_len = 4096; }), -EINVAL);
  auto bytes = good.bytes();
  EXPECT_EQ(load_btf(std::span(bytes).first(4)), -EINVAL);
  EXPECT_EQ(load_btf(std::span(bytes).first(24)), -EINVAL);
  bytes.back() = std::byte{'x'};
  EXPECT_EQ(load_btf(bytes), -EINVAL);
  // A longer header is all right while it says nothing more.
  bytes = good.bytes();
  bytes.insert(bytes.begin() + 24, 4, std::byte{0});
  bytes[4] = std::byte{28};
  EXPECT_GE(Fd(load_btf(bytes)).get(), 0);
  bytes[24] = std::byte{1};
  EXPECT_EQ(load_btf(bytes), -E2BIG);
  EXPECT_EQ(verdict(BtfBytes()), -EINVAL);
}

TEST_P(Btf, Rows) {
  // One row after the integer 1 and the pointer to it 2.
  const auto row = [&](auto add) {
    BtfBytes btf;
    btf.integer("int", 4);
    btf.type(0, BTF_KIND_PTR, 0, 1);
    add(btf);
    return verdict(btf);
  };
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, 0, 0, 0); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, 20, 0, 0); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(9999, BTF_KIND_INT, 0, 4, {32}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_INT, 1, 4, {32}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_INT, 0, 4, {33}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_INT, 0, 4, {3U << 24 | 32}); }), -kNotSupported);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_INT, 0, 4); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("p"), BTF_KIND_PTR, 0, 1); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_PTR, 0, 77); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_TYPEDEF, 0, 1); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("1t"), BTF_KIND_TYPEDEF, 0, 1); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ARRAY, 0, 4, {1, 1, 8}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ARRAY, 0, 0, {0, 1, 8}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ARRAY, 0, 0, {1, 2, 8}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ARRAY, 0, 0, {1, 1, 0x80000000}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_STRUCT, 1, 4, {0, 1, 8}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_STRUCT, 1, 4, {0, 0, 0}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_STRUCT, 1, 16, {0, 2, 4}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_STRUCT, 2, 8, {0, 1, 32, 0, 1, 0}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_UNION, 1, 8, {0, 1, 32}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ENUM, 1, 3, {b.string("A"), 0}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_ENUM, 1, 4, {0, 0}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("f"), BTF_KIND_FWD, 0, 1); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("f"), BTF_KIND_FUNC, 0, 1); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("v"), BTF_KIND_VAR, 0, 0, {1}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("v"), BTF_KIND_VAR, 0, 1, {9}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string(".d"), BTF_KIND_DATASEC, 1, 4, {1, 0, 4}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("fl"), BTF_KIND_FLOAT, 0, 5); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(b.string("t"), BTF_KIND_DECL_TAG, 0, 1, {~0U}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_FUNC_PROTO, 1, 0, {b.string("x"), 0}); }), -EINVAL);
  EXPECT_EQ(row([](BtfBytes& b) { b.type(0, BTF_KIND_FUNC_PROTO, 1, 0, {0, 77}); }), -EINVAL);
}

TEST_P(Btf, References) {
  const auto pair = [&](auto add) {
    BtfBytes btf;
    add(btf);
    return verdict(btf);
  };
  // A function whose arguments have no names.
  EXPECT_EQ(pair([](BtfBytes& b) {
              const uint32_t i = b.integer("int", 4);
              const uint32_t p = b.type(0, BTF_KIND_FUNC_PROTO, 1, i, {0, i});
              b.type(b.string("f"), BTF_KIND_FUNC, 0, p);
            }),
            -EINVAL);
  // A variable in a section that is too small for it.
  EXPECT_EQ(pair([](BtfBytes& b) {
              const uint32_t i = b.integer("long", 8);
              const uint32_t v = b.type(b.string("v"), BTF_KIND_VAR, 0, i, {1});
              b.type(b.string(".data"), BTF_KIND_DATASEC, 1, 4, {v, 0, 4});
            }),
            -EINVAL);
  // A pointer to a variable.
  EXPECT_EQ(pair([](BtfBytes& b) {
              const uint32_t i = b.integer("int", 4);
              const uint32_t v = b.type(b.string("v"), BTF_KIND_VAR, 0, i, {1});
              b.type(0, BTF_KIND_PTR, 0, v);
            }),
            -EINVAL);
  // A structure in itself, directly and through an array and a typedef.
  EXPECT_EQ(pair([](BtfBytes& b) { b.type(0, BTF_KIND_STRUCT, 1, 8, {0, 1, 0}); }), -EEXIST);
  EXPECT_EQ(pair([](BtfBytes& b) {
              const uint32_t i = b.integer("int", 4);
              b.type(0, BTF_KIND_STRUCT, 1, 8, {0, 3, 0});
              b.type(b.string("t"), BTF_KIND_TYPEDEF, 0, 4);
              b.type(0, BTF_KIND_ARRAY, 0, 0, {2, i, 1});
            }),
            -EEXIST);
  // Through a pointer it may be.
  EXPECT_EQ(pair([](BtfBytes& b) {
              b.type(0, BTF_KIND_STRUCT, 1, 8, {0, 2, 0});
              b.type(0, BTF_KIND_PTR, 0, 1);
            }),
            0);
  // Modifiers of each other, and pointers to each other.
  EXPECT_EQ(pair([](BtfBytes& b) {
              b.type(0, BTF_KIND_CONST, 0, 2);
              b.type(0, BTF_KIND_VOLATILE, 0, 1);
            }),
            -EEXIST);
  EXPECT_EQ(pair([](BtfBytes& b) {
              b.type(0, BTF_KIND_PTR, 0, 2);
              b.type(0, BTF_KIND_PTR, 0, 1);
            }),
            -EEXIST);
  const auto chain = [](uint32_t length) {
    return [length](BtfBytes& b) {
      for (uint32_t i = 1; i <= length; ++i) b.type(0, BTF_KIND_CONST, 0, i < length ? i + 1 : 0);
    };
  };
  EXPECT_EQ(pair(chain(32)), 0);
  EXPECT_EQ(pair(chain(33)), -E2BIG);
}

TEST_P(Btf, RefusedAttributes) {
  BtfBytes btf;
  btf.integer("int", 4);
  const auto bytes = btf.bytes();
  bpf_attr good{};
  good.btf = pointer(bytes.data());
  good.btf_size = static_cast<uint32_t>(bytes.size());
  bpf_attr attributes = good;
  attributes.btf = kNowhere;
  EXPECT_EQ(call(BPF_BTF_LOAD, attributes), -EFAULT);
  attributes = good;
  attributes.btf_size = (16 << 20) + 1;
  EXPECT_EQ(call(BPF_BTF_LOAD, attributes), -E2BIG);
  attributes = good;
  attributes.btf_log_size = 100;
  EXPECT_EQ(call(BPF_BTF_LOAD, attributes), -EINVAL);
}

TEST_P(Btf, Logs) {
  BtfBytes btf;
  btf.type(0, BTF_KIND_INT, 0, 4, {33});
  const auto bytes = btf.bytes();
  std::string log(8192, 'x');
  bpf_attr attributes{};
  attributes.btf = pointer(bytes.data());
  attributes.btf_size = static_cast<uint32_t>(bytes.size());
  attributes.btf_log_buf = pointer(log.data());
  attributes.btf_log_size = static_cast<uint32_t>(log.size());
  attributes.btf_log_level = 1;
  EXPECT_EQ(call(BPF_BTF_LOAD, attributes), -EINVAL);
  EXPECT_NE(std::string(log.c_str()).find("[1] INT (anon)"), std::string::npos) << log.c_str();
  EXPECT_NE(std::string(log.c_str()).find("nr_bits exceeds type_size"), std::string::npos) << log.c_str();
  attributes.btf_log_size = 10;
  EXPECT_EQ(call(BPF_BTF_LOAD, attributes), -ENOSPC);
  EXPECT_EQ(std::strlen(log.c_str()), 9U);
}

TEST_P(Btf, Info) {
  BtfBytes btf;
  btf.integer("int", 4);
  const auto bytes = btf.bytes();
  const Fd object(load_btf(bytes));
  ASSERT_GE(object.get(), 0);
  std::vector<std::byte> out(bytes.size() + 8, std::byte{0xee});
  bpf_btf_info got{};
  got.btf = pointer(out.data());
  got.btf_size = static_cast<uint32_t>(out.size());
  EXPECT_EQ(info(object, got), 0);
  EXPECT_EQ(got.btf_size, bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), out.begin()));
  EXPECT_EQ(out[bytes.size()], std::byte{0xee});
  EXPECT_EQ(got.name_len, 0U);
  EXPECT_EQ(got.kernel_btf, 0U);
  const Fd again(by_id(BPF_BTF_GET_FD_BY_ID, got.id));
  EXPECT_GE(again.get(), 0);
  got = {};
  got.btf = kNowhere;
  got.btf_size = 8;
  EXPECT_EQ(info(object, got), -EFAULT);
  got = {};
  got.name_len = 5;
  EXPECT_EQ(info(object, got), -EINVAL);
}

TEST_P(Btf, OfMaps) {
  BtfBytes btf;
  const uint32_t key = btf.integer("int", 4);
  const uint32_t value = btf.integer("long", 8);
  const uint32_t alias = btf.type(btf.string("k"), BTF_KIND_TYPEDEF, 0, key);
  const uint32_t variable = btf.type(btf.string("v"), BTF_KIND_VAR, 0, value, {1});
  const uint32_t section = btf.type(btf.string(".bss"), BTF_KIND_DATASEC, 1, 8, {variable, 0, 8});
  const Fd object(load_btf(btf.bytes()));
  ASSERT_GE(object.get(), 0);
  bpf_attr good{};
  good.map_type = BPF_MAP_TYPE_ARRAY;
  good.key_size = 4;
  good.value_size = 8;
  good.max_entries = 1;
  good.btf_fd = object.field();
  good.btf_key_type_id = alias;
  good.btf_value_type_id = value;
  const Fd map(create_map(good));
  ASSERT_GE(map.get(), 0);
  bpf_map_info out{};
  ASSERT_EQ(info(map, out), 0);
  EXPECT_EQ(out.btf_key_type_id, alias);
  EXPECT_EQ(out.btf_value_type_id, value);
  bpf_btf_info of{};
  ASSERT_EQ(info(object, of), 0);
  EXPECT_EQ(out.btf_id, of.id);
  bpf_attr attributes = good;
  attributes.btf_value_type_id = key;
  EXPECT_EQ(create_map(attributes), -EINVAL);
  attributes = good;
  attributes.btf_key_type_id = 0;
  EXPECT_EQ(create_map(attributes), -EINVAL);
  attributes.btf_value_type_id = section;
  EXPECT_GE(Fd(create_map(attributes)).get(), 0);
  attributes.max_entries = 2;
  EXPECT_EQ(create_map(attributes), -EINVAL);
  attributes = good;
  attributes.btf_fd = map.field();
  EXPECT_EQ(create_map(attributes), -EINVAL);
  attributes = good;
  attributes.map_type = BPF_MAP_TYPE_HASH;
  EXPECT_GE(Fd(create_map(attributes)).get(), 0);
  attributes.btf_key_type_id = 0;
  EXPECT_EQ(create_map(attributes), -EINVAL);
}

}  // namespace
}  // namespace skep::test
