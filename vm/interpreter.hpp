#pragma once

#include <memory>

#include "vm/engine.hpp"

namespace skep::vm {

// The interpreter: executes the lowered instructions one by one.
std::unique_ptr<Engine> make_interpreter();

}  // namespace skep::vm
