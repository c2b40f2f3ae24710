#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace skep::sys {

// The caller's memory. An address that points nowhere, or where may not be written, is an answer and no
// crash.
//
// Pages are tried before they are touched, by system calls that look at one word and change nothing; there is
// no signal handler and no other state of the process in this. What it does not guard against is another
// thread that unmaps the memory during the command. Pages found good are remembered, so an instance lives no
// longer than one command.
class UserMemory {
 public:
  // false: not readable.
  bool read(void* to, uint64_t from, size_t size);
  // false: not writable. Nothing was written then.
  bool write(uint64_t to, const void* from, size_t size);
  template <class T>
  bool put(uint64_t to, const T& value) {
    return write(to, &value, sizeof value);
  }

  // Up to `limit` bytes of a string, without its NUL; nullopt: not readable. No NUL within the limit: the
  // first `limit` bytes.
  std::optional<std::string> read_string(uint64_t from, size_t limit);
  // Whether `size` bytes are all zero; nullopt: not readable.
  std::optional<bool> is_zero(uint64_t from, size_t size);

 private:
  bool readable(uint64_t address, size_t size);
  bool writable(uint64_t address, size_t size);

  uint64_t readable_page_ = 1;  // no page begins at 1
  uint64_t writable_page_ = 1;
};

}  // namespace skep::sys
