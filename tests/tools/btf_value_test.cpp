#include "tools/btf_value.hpp"

#include <bpf/btf.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace skep::tools {
namespace {

using Json = nlohmann::ordered_json;
using Bytes = std::vector<std::byte>;
using BtfHandle = std::unique_ptr<btf, decltype([](btf* types) { btf__free(types); })>;

Bytes bytes(std::initializer_list<unsigned> values) {
  Bytes out;
  for (const unsigned value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

Bytes text_bytes(const std::string& text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

class BtfValue : public testing::Test {
 protected:
  BtfValue() : types_(btf__parse(SKEP_BPF_DIR "/btf_value.bpf.o", nullptr)) {}

  void SetUp() override { ASSERT_TRUE(types_); }

  // Of a type, or of a variable's.
  uint32_t id(const char* name) const {
    const int type = btf__find_by_name(types_.get(), name);
    EXPECT_GT(type, 0) << name;
    return static_cast<uint32_t>(type);
  }
  uint32_t variable(const char* name) const {
    const int type = btf__find_by_name_kind(types_.get(), name, BTF_KIND_VAR);
    EXPECT_GT(type, 0) << name;
    return static_cast<uint32_t>(type);
  }

  // As text, in which the order of fields shows.
  std::string json(uint32_t type, const Bytes& value) const {
    return to_json(types_.get(), type, value).dump();
  }
  std::string text(uint32_t type, const Bytes& value) const { return to_text(types_.get(), type, value); }

  BtfHandle types_;
};

const Bytes kIntegers = bytes({
    0xfe, 0xfe, 0xfe, 0xff, 0xfd, 0xff, 0x00, 0x00,  // u8 s8 u16 s16
    0xfc, 0xff, 0xff, 0xff, 0xfb, 0xff, 0xff, 0xff,  // u32 s32
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  // u64
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80,  // s64
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00   // yes no
});

TEST_F(BtfValue, IntegersOfAllWidths) {
  EXPECT_EQ(json(id("integers"), kIntegers),
            R"({"u8":254,"s8":-2,"u16":65534,"s16":-3,"u32":4294967292,"s32":-5,)"
            R"("u64":18446744073709551615,"s64":-9223372036854775808,"yes":true,"no":false})");
}

TEST_F(BtfValue, StructuresInStructures) {
  EXPECT_EQ(json(id("nested"), bytes({1, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 4, 0,
                                      0, 0, 5, 0, 0, 0, 1, 0, 2,    0,    7,    0,    0, 0})),
            R"({"from":{"x":1,"y":2},"to":{"x":-1,"y":4},"first":5,"second":131073,"halves":[1,2],)"
            R"("named":{"inside":7}})");
}

TEST_F(BtfValue, Unions) {
  EXPECT_EQ(json(id("either"), bytes({1, 2, 3, 4})), R"({"number":67305985,"bytes":[1,2,3,4]})");
}

TEST_F(BtfValue, BitFields) {
  // low 5, signed_five -3, middle 0x54321, flag set: 5 | 0x1d << 3 | 0x54321 << 8 | 1 << 28.
  // wide 0x8000000001 in the next eight bytes.
  EXPECT_EQ(json(id("bits"), bytes({0xed, 0x21, 0x43, 0x15, 0,    0, 0, 0, 0x01, 0, 0, 0,
                                    0x80, 0,    0,    0,    0x2a, 0, 0, 0, 0,    0, 0, 0})),
            R"({"low":5,"signed_five":-3,"middle":344865,"flag":true,"wide":549755813889,"whole":42})");
}

TEST_F(BtfValue, EnumeratorsByName) {
  EXPECT_EQ(json(id("enums"), bytes({0x00, 0x28, 0x6b, 0xee, 0xfe, 0xff, 0xff, 0xff,  // BLUE BELOW
                                     0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12,  // LARGE
                                     0x10, 0x21, 0x43, 0x65, 0x87, 0xa9, 0xcb, 0xed,  // ABYSS
                                     0x06, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x00, 0x00})),
            R"({"color":"BLUE","level":"BELOW","huge":"LARGE","deep":"ABYSS","unknown":6,"bits":"BELOW"})");
  EXPECT_EQ(json(variable("color"), bytes({5, 0, 0, 0})), R"("GREEN")");
  EXPECT_EQ(json(id("level"), bytes({0xf0, 0xff, 0xff, 0xff})), "-16");
}

TEST_F(BtfValue, ArraysOfArraysAndOfStructures) {
  EXPECT_EQ(json(id("arrays"),
                 bytes({1,    0,    2,    0,    3,    0,    4,    0,   5, 0, 6, 0,              // grid
                        1,    0,    0,    0,    2,    0,    0,    0,   3, 0, 0, 0, 4, 0, 0, 0,  // points
                        0xde, 0xad, 0xbe, 0xef, 0x41, 0x00, 0x41, 0x00})),                      // mac bytes
            R"({"grid":[[1,2,3],[4,5,6]],"points":[{"x":1,"y":2},{"x":3,"y":4}],)"
            R"("mac":[222,173,190,239,65,0],"bytes":[65,0],"none":[]})");
}

TEST_F(BtfValue, CharArraysAreTextIfPrintable) {
  Bytes value = text_bytes(std::string("eth0\0\xff\xff\xff", 8) + "full" + std::string("\x01\xff\0\0", 4) +
                           std::string("\0abc", 4) + std::string("a\0bc", 4) + "hi");
  EXPECT_EQ(json(id("texts"), value),
            R"({"name":"eth0","tag":"full","binary":[1,-1,0,0],"rest":"","grid":["a","bc"],)"
            R"("numbers":[104,105]})");
}

TEST_F(BtfValue, PointersAreNumbers) {
  EXPECT_EQ(json(id("pointers"), bytes({0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  // any
                                        0,    0,    0,    0,    0,    0,    0,    0,     // typed
                                        0,    1,    0,    0,    0,    0,    0,    0})),  // function
            R"({"any":18446744073709551615,"typed":0,"function":256})");
}

TEST_F(BtfValue, Floats) {
  EXPECT_EQ(json(id("floats"), bytes({0x00, 0x00, 0xc0, 0xbf, 0, 0, 0, 0,  // -1.5
                                      0, 0, 0, 0, 0, 0, 0xd0, 0x3f})),     // 0.25
            R"({"single":-1.5,"twice":0.25})");
}

TEST_F(BtfValue, TypedefsQualifiersAndVariablesAreSeenThrough) {
  EXPECT_EQ(json(id("qualified_id"), bytes({1, 2, 0, 0})), "513");
  EXPECT_EQ(json(variable("id"), bytes({1, 2, 0, 0})), "513");
  EXPECT_EQ(json(variable("flag"), bytes({1})), "true");
}

TEST_F(BtfValue, IntegersTooWideForJsonAreHexadecimal) {
  EXPECT_EQ(json(variable("wide"), bytes({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})),
            R"("0102030405060708090a0b0c0d0e0f10")");
}

TEST_F(BtfValue, BytesWithoutATypeAreHexadecimal) {
  const Bytes value = bytes({0x0a, 0x0b, 0xfc});
  EXPECT_EQ(to_json(nullptr, 1, value), Json("0a0bfc"));
  EXPECT_EQ(json(0, value), R"("0a0bfc")");
  EXPECT_EQ(json(1u << 30, value), R"("0a0bfc")");
  EXPECT_EQ(json(id("point"), value), R"("0a0bfc")");
  EXPECT_EQ(json(id("point"), {}), R"("")");
}

TEST_F(BtfValue, BytesBehindTheTypeAreLeftOut) {
  EXPECT_EQ(json(id("point"), bytes({1, 0, 0, 0, 2, 0, 0, 0, 3})), R"({"x":1,"y":2})");
}

TEST_F(BtfValue, TextOfScalarsIsBare) {
  EXPECT_EQ(text(variable("id"), bytes({1, 2, 0, 0})), "513");
  EXPECT_EQ(text(variable("flag"), bytes({1})), "1");
  EXPECT_EQ(text(variable("color"), bytes({5, 0, 0, 0})), "GREEN");
  EXPECT_EQ(text(variable("mac"), bytes({1, 2, 3, 4, 5, 6})), "[1,2,3,4,5,6,]");
}

TEST_F(BtfValue, TextOfSmallStructuresIsOneLine) {
  EXPECT_EQ(text(id("point"), bytes({1, 0, 0, 0, 0, 0, 0, 0})), "(struct point){.x = (int)1,.y = (int)0,}");
}

TEST_F(BtfValue, TextOfLargeStructuresHasALineForEachField) {
  EXPECT_EQ(text(id("integers"), kIntegers),
            "(struct integers){\n"
            "  .u8 = (__u8)254,\n"
            "  .s8 = (__s8)-2,\n"
            "  .u16 = (__u16)65534,\n"
            "  .s16 = (__s16)-3,\n"
            "  .u32 = (__u32)4294967292,\n"
            "  .s32 = (__s32)-5,\n"
            "  .u64 = (__u64)18446744073709551615,\n"
            "  .s64 = (__s64)-9223372036854775808,\n"
            "  .yes = (_Bool)1,\n"
            "  .no = (_Bool)0,\n"
            "}");
}

TEST_F(BtfValue, TextOfBytesWithoutATypeIsHexadecimal) {
  const Bytes value = bytes({0x0a, 0x0b, 0xfc});
  EXPECT_EQ(to_text(nullptr, 1, value), "0a 0b fc");
  EXPECT_EQ(text(0, value), "0a 0b fc");
  EXPECT_EQ(text(1u << 30, value), "0a 0b fc");
  EXPECT_EQ(text(id("point"), value), "0a 0b fc");
}

TEST(BtfValueHex, TwoDigitsAByte) {
  EXPECT_EQ(to_hex(bytes({0x0a, 0x00, 0xff})), "0a 00 ff");
  EXPECT_EQ(to_hex({}), "");
}

// What clang-19 makes no more, or only the loader completes.
class MadeBtf : public testing::Test {
 protected:
  MadeBtf() : types_(btf__new_empty()), int_(btf__add_int(types_.get(), "int", 4, BTF_INT_SIGNED)) {}

  std::string json(int type, const Bytes& value) const {
    return to_json(types_.get(), static_cast<uint32_t>(type), value).dump();
  }

  BtfHandle types_;
  int int_;
};

TEST_F(MadeBtf, SectionsAreObjectsOfVariables) {
  const int first = btf__add_var(types_.get(), "first", BTF_VAR_GLOBAL_ALLOCATED, int_);
  const int second = btf__add_var(types_.get(), "second", BTF_VAR_STATIC, int_);
  const int section = btf__add_datasec(types_.get(), ".bss", 12);
  btf__add_datasec_var_info(types_.get(), first, 0, 4);
  btf__add_datasec_var_info(types_.get(), second, 8, 4);
  const Bytes value = bytes({1, 0, 0, 0, 9, 9, 9, 9, 0xff, 0xff, 0xff, 0xff});
  EXPECT_EQ(json(section, value), R"({"first":1,"second":-1})");
  EXPECT_EQ(to_text(types_.get(), static_cast<uint32_t>(section), value),
            "SEC(\".bss\") int first = (int)1;static int second = (int)-1;");
}

// Before the kind_flag of structures, a bit field was an integer type with fewer bits than bytes.
TEST_F(MadeBtf, OldBitFields) {
  const int narrow = btf__add_int(types_.get(), "int", 4, BTF_INT_SIGNED);
  auto* type = const_cast<btf_type*>(btf__type_by_id(types_.get(), static_cast<uint32_t>(narrow)));
  *reinterpret_cast<uint32_t*>(type + 1) = BTF_INT_SIGNED << 24 | 3;
  const int structure = btf__add_struct(types_.get(), "old", 4);
  ASSERT_EQ(btf__add_field(types_.get(), "a", narrow, 0, 0), 0);
  auto* members = const_cast<btf_type*>(btf__type_by_id(types_.get(), static_cast<uint32_t>(structure)));
  ASSERT_EQ(btf__add_field(types_.get(), "b", narrow, 8, 0), 0);
  members = const_cast<btf_type*>(btf__type_by_id(types_.get(), static_cast<uint32_t>(structure)));
  btf_members(members)[1].offset = 7;
  EXPECT_EQ(json(structure, bytes({0x83, 0x01, 0, 0})), R"({"a":3,"b":3})");
  EXPECT_EQ(json(structure, bytes({0x04, 0x02, 0, 0})), R"({"a":-4,"b":-4})");
}

TEST_F(MadeBtf, CharEncodingIsTextWhateverItsName) {
  const int character = btf__add_int(types_.get(), "byte", 1, BTF_INT_CHAR);
  const int array = btf__add_array(types_.get(), int_, character, 3);
  EXPECT_EQ(json(array, bytes({'o', 'k', 0})), R"("ok")");
}

TEST_F(MadeBtf, MembersOutsideTheirStructureAreLeftEmpty) {
  const int inner = btf__add_struct(types_.get(), "inner", 4);
  ASSERT_EQ(btf__add_field(types_.get(), "far", int_, 32, 0), 0);
  EXPECT_EQ(json(inner, bytes({1, 2, 3, 4})), R"({"far":""})");
}

TEST_F(MadeBtf, BillionsOfNothing) {
  const int empty = btf__add_struct(types_.get(), "empty", 0);
  const int array = btf__add_array(types_.get(), int_, empty, 0xffffffff);
  EXPECT_EQ(json(array, {}), "[]");
}

TEST_F(MadeBtf, TypesThatHoldThemselvesEnd) {
  const int structure = btf__add_struct(types_.get(), "loop", 4);
  ASSERT_EQ(btf__add_field(types_.get(), "again", structure, 0, 0), 0);
  EXPECT_NE(json(structure, bytes({1, 2, 3, 4})).find("\"01020304\""), std::string::npos);
}

}  // namespace
}  // namespace skep::tools
