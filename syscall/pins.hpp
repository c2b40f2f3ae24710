#pragma once

#include <string>
#include <string_view>

namespace skep::sys {

// The path that names a pin: absolute, without "." and "..", not followed through links.
std::string absolute_path(std::string_view path);

}  // namespace skep::sys
