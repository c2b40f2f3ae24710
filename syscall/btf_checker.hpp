#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "skep/error.hpp"
#include "syscall/btf_image.hpp"

namespace skep::sys {

// Takes BTF apart and refuses what the kernel refuses; makes a BtfImage. One use.
class BtfChecker {
 public:
  Result<BtfImage> run(std::vector<std::byte> raw);

 private:
  enum class Visit : uint8_t { kNo, kOnStack, kDone };
  enum class Through : uint8_t { kUndecided, kPointers, kMembers };

  Result<void> check_header();
  Result<void> check_sections(const btf_header& header);
  Result<void> check_strings(const btf_header& header);
  // Type by type, without looking at others.
  Result<void> read_types(const btf_header& header);
  Result<uint32_t> check_row(uint32_t id, const BtfType& type, size_t bytes_left);
  Result<void> check_name(uint32_t id, const BtfType& type);
  Result<void> check_extra(uint32_t id, const BtfType& type);
  Result<void> check_int(uint32_t id, const BtfType& type);
  Result<void> check_members(uint32_t id, const BtfType& type);
  Result<void> check_enumerators(uint32_t id, const BtfType& type);
  Result<void> check_section_variables(uint32_t id, const BtfType& type);
  // Follows references; refuses loops and depth.
  Result<void> resolve(uint32_t id, Through through, unsigned depth);
  Result<void> follow(uint32_t id, uint32_t to, Through through, unsigned depth);
  // References, when all are resolved.
  Result<void> check_references(uint32_t id);
  Result<void> check_array(uint32_t id, const BtfType& type);
  Result<void> check_member_types(uint32_t id, const BtfType& type);
  Result<void> check_member_place(uint32_t id, const BtfType& type, const uint32_t* member);
  Result<void> check_prototype(uint32_t id, const BtfType& type);
  Result<void> check_function(uint32_t id, const BtfType& type);
  Result<void> check_variables(uint32_t id, const BtfType& type);
  Result<void> check_tag(uint32_t id, const BtfType& type);

  uint32_t kind_of(uint32_t id) const { return id == 0 ? 0 : image_.type(id).kind(); }
  bool regular_int(uint32_t id) const;
  bool valid_identifier(uint32_t name) const;
  std::unexpected<Error> refuse(uint32_t id, const char* why, int code = 22) const;

  BtfImage image_;
  std::vector<Visit> visits_;
};

}  // namespace skep::sys
