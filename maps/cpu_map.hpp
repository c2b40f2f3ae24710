#pragma once

#include <memory>
#include <vector>

#include "maps/map.hpp"
#include "maps/redirect_map.hpp"
#include "maps/target_array.hpp"
#include "maps/target_store.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_CPUMAP: the key is the CPU. Semantics: kernel/bpf/cpumap.c. An element's queue is a number
// that is kept: what is redirected to a CPU is carried out at once.
class CpuMap final : public Map, public RedirectMap {
 public:
  // CONFIG_NR_CPUS of distributions' kernels.
  static constexpr uint32_t kMaxCpus = 8192;
  static constexpr uint32_t kMaxQueue = 16384;

  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  CpuMap(const MapSpec& spec, const MapEnvironment& environment);

  int erase(const void* key) override;
  int read(const void* key, void* value, uint64_t flags) override;
  // Without programs.
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;
  RedirectMap* redirects() override { return this; }
  bool holds_programs_of_one_kind() const override { return true; }

  RedirectKind redirect_kind() const override { return RedirectKind::kCpu; }
  uint32_t entry_attach_type() const override { return BPF_XDP_CPUMAP; }
  uint64_t redirect_flags() const override { return 0; }
  const RedirectTarget* target(uint32_t key) const override { return slots_.at(key); }
  std::vector<const RedirectTarget*> targets() const override { return slots_.all(); }
  int write_entry(const void* key, const void* value, uint64_t flags,
                  const ProgramFinder& find_program) override;
  int clear() override {
    slots_.clear();
    return 0;
  }

 private:
  TargetStore store_;
  TargetArray slots_;
};

}  // namespace skep::maps
