#include "loader/onward.hpp"

namespace skep::loader {

Onward::Onward(vm::Machine& machine, bool keep_data)
    : forwarder_(machine, vm::default_run_options(machine), keep_data, [this](const vm::Fault& fault) {
        if (!fault_) fault_ = public_fault(fault);
      }) {}

}  // namespace skep::loader
