#include <string>

#include "loader/object_state.hpp"
#include "loader/program_runner.hpp"
#include "loader/runner_state.hpp"

namespace skep {

Runner::Runner(std::unique_ptr<State> state) : state_(std::move(state)) {}
Runner::Runner(Runner&& other) noexcept = default;
Runner& Runner::operator=(Runner&& other) noexcept = default;
Runner::~Runner() = default;

RunOutcome Runner::run_in_place(std::span<std::byte> memory) { return state_->runner.run_in_place(memory); }
Result<RunOutcome> Runner::run(const RunInput& input) {
  auto outcome = state_->runner.run(input);
  if (outcome) *outcome = state_->runner.deliver(*outcome);
  return outcome;
}
std::optional<Fault> Runner::fault() const { return state_->runner.fault(); }
std::vector<std::byte> Runner::output() const { return state_->runner.output(); }
const Forwarding& Runner::forwarding() const { return state_->runner.forwarding(); }

}  // namespace skep
