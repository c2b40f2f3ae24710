#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

struct btf;

namespace skep::tools {

// Map keys, map values and global data in words, by their BTF type. `btf` may be nullptr. Bytes that have no
// type, or fewer than their type has, are shown in hexadecimal; bytes behind the type's end are left out.
// Nothing here changes the BTF, which must be one that a kernel would accept.

// struct, union  an object, its fields in their order; those of anonymous members stand among them
// DATASEC        an object of its variables
// array          an array; char[N] is a string if the bytes before its first NUL (or all) are printable ASCII
// int            a number, or true and false; __int128 is a string of its bytes in hexadecimal
// enum           the name of the value, a number if it has none
// pointer        a number
// float, double  a number; NaN and infinity become null when the JSON is written
// no type        a string of the bytes in hexadecimal, as "0a0b0c"
nlohmann::ordered_json to_json(const struct btf* btf, uint32_t type_id, std::span<const std::byte> bytes);

// As libbpf prints C values: in one line if it is short, else a line per field. Scalars, and arrays of them,
// come without their type. No type: as to_hex.
std::string to_text(const struct btf* btf, uint32_t type_id, std::span<const std::byte> bytes);

// "0a 0b 0c".
std::string to_hex(std::span<const std::byte> bytes);

}  // namespace skep::tools
