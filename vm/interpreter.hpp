#pragma once

#include <memory>

#include "vm/engine.hpp"

namespace skep::vm {

// The interpreter: makes steps of a program's operations and executes them (vm/interpreter/).
std::unique_ptr<Engine> make_interpreter();

}  // namespace skep::vm
