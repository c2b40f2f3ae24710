#pragma once

#include <expected>
#include <string>
#include <utility>

namespace skep {

// Why an operation was refused: a kernel error number (positive, as in <errno.h>) and one sentence that names
// the thing that is wrong. A value; safe to copy between threads.
struct Error {
  int code = 0;
  std::string message;
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(int code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

}  // namespace skep
