#pragma once

#include "tools/bench/contestant.hpp"

namespace skep::tools {

// The signature of a native function that stands beside a program.
using NativeFunction = uint64_t (*)(void* memory, uint64_t length);

// A function of a shared object, called as a program would be run.
class NativeContestant final : public Contestant {
 public:
  // `place` is FILE:SYMBOL. With `verdict` the function's low 32 bits are compared, as of programs whose
  // return value has no more. Errors name what is missing.
  static Result<std::unique_ptr<NativeContestant>> open(const std::string& place, bool verdict);

  const std::string& name() const override { return name_; }
  Result<Observation> observe(const Packet& input) override;
  Result<double> time(std::span<const Packet> inputs, uint64_t passes) override;

 private:
  struct Close {
    void operator()(void* library) const;
  };
  using Library = std::unique_ptr<void, Close>;

  NativeContestant(Library library, NativeFunction function, bool verdict)
      : library_(std::move(library)), function_(function), verdict_(verdict) {}

  std::string name_ = "native";
  Library library_;
  NativeFunction function_;
  bool verdict_;
  std::vector<uint8_t> memory_;
};

}  // namespace skep::tools
