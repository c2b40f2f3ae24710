#pragma once

#include "tools/bench/contestant.hpp"
#include "tools/command.hpp"

struct bpf_object;

namespace skep::tools {

// A program in the host's kernel: loaded there with libbpf, run by BPF_PROG_TEST_RUN, never attached. Its
// maps are not pinned, and gone with it.
class KernelContestant final : public Contestant {
 public:
  // Fails with why the kernel cannot run it: no permission, the last words of its verifier, a type that it
  // does not know.
  static Result<std::unique_ptr<KernelContestant>> load(const ObjectArguments& object,
                                                        const std::string& type);

  const std::string& name() const override { return name_; }
  double resolution() const override { return 1; }
  EngineFacts facts() const override;
  Result<Observation> observe(const Packet& input) override;
  // A pass repeats each input before the next: the kernel keeps the time of repetitions.
  Result<double> time(std::span<const Packet> inputs, uint64_t passes) override;

 private:
  struct Close {
    void operator()(bpf_object* object) const;
  };
  using Object = std::unique_ptr<bpf_object, Close>;
  KernelContestant(Object object, int descriptor) : object_(std::move(object)), descriptor_(descriptor) {}
  static Result<Object> open(const ObjectArguments& arguments);

  std::string name_ = "kernel";
  Object object_;
  int descriptor_;  // of the object's
};

}  // namespace skep::tools
