#include "maps/generic_batch.hpp"

#include <cerrno>
#include <cstring>
#include <vector>

#include "maps/attributes.hpp"

namespace skep::maps {

int read_batch_by_keys(Map& map, const void* in, void* out, void* keys, void* values, uint32_t& count,
                       uint64_t flags) {
  if (check_read_flags(map.spec(), flags) != 0) return -EINVAL;
  const uint32_t room = count;
  if (room == 0) return 0;
  const size_t key_size = map.spec().key_size;
  std::vector<std::byte> cursor(key_size);
  std::vector<std::byte> key(key_size);
  if (in != nullptr) std::memcpy(cursor.data(), in, key_size);
  bool begun = in != nullptr;
  int result = 0;
  for (count = 0; count < room;) {
    result = map.next_key(begun ? cursor.data() : nullptr, key.data());
    if (result != 0) break;
    cursor = key;
    begun = true;
    result = map.read(key.data(), static_cast<std::byte*>(values) + count * map.user_value_size(), flags);
    if (result == -ENOENT) continue;
    if (result != 0) break;
    std::memcpy(static_cast<std::byte*>(keys) + count * key_size, key.data(), key_size);
    ++count;
  }
  if (count != 0) std::memcpy(out, cursor.data(), key_size);
  return result;
}

}  // namespace skep::maps
