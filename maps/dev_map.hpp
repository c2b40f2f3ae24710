#pragma once

#include <memory>
#include <vector>

#include "maps/map.hpp"
#include "maps/redirect_map.hpp"
#include "maps/target_array.hpp"
#include "maps/target_store.hpp"
#include "maps/target_table.hpp"

namespace skep::maps {

// What DEVMAP and DEVMAP_HASH share. Semantics: kernel/bpf/devmap.c.
class DeviceMapBase : public Map, public RedirectMap {
 public:
  int read(const void* key, void* value, uint64_t flags) override;
  // Without programs.
  int write(const void* key, const void* value, uint64_t flags) override;
  void* lookup(const void* key, unsigned cpu) override;
  MemoryRange value_containing(uintptr_t address) const override { return store_.value_containing(address); }
  RedirectMap* redirects() override { return this; }

  RedirectKind redirect_kind() const override { return RedirectKind::kDevice; }
  uint32_t entry_attach_type() const override { return BPF_XDP_DEVMAP; }
  uint64_t redirect_flags() const override { return BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS; }
  const RedirectTarget* target(uint32_t key) const override { return entry(key); }

 protected:
  DeviceMapBase(const MapSpec& spec, const MapEnvironment& environment);

  virtual const TargetEntry* entry(uint32_t key) const = 0;
  TargetStore& store() { return store_; }
  // The entry for a value whose device is not 0. -EINVAL: no such device, or no program that goes here.
  int make_entry(uint32_t key, const TargetValue& value, const ProgramFinder& find_program,
                 std::unique_ptr<TargetEntry>& made);

 private:
  const DeviceDirectory* devices_;
  TargetStore store_;
};

// BPF_MAP_TYPE_DEVMAP.
class DevMap final : public DeviceMapBase {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  DevMap(const MapSpec& spec, const MapEnvironment& environment);

  int erase(const void* key) override;
  int next_key(const void* key, void* next) override;
  int write_entry(const void* key, const void* value, uint64_t flags,
                  const ProgramFinder& find_program) override;
  bool holds_programs_of_one_kind() const override { return true; }
  std::vector<const RedirectTarget*> targets() const override { return slots_.all(); }
  int clear() override {
    slots_.clear();
    return 0;
  }

 private:
  const TargetEntry* entry(uint32_t key) const override { return slots_.at(key); }

  TargetArray slots_;
};

// BPF_MAP_TYPE_DEVMAP_HASH.
class DevHashMap final : public DeviceMapBase {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  DevHashMap(const MapSpec& spec, const MapEnvironment& environment);

  int erase(const void* key) override;
  int next_key(const void* key, void* next) override;
  int write_entry(const void* key, const void* value, uint64_t flags,
                  const ProgramFinder& find_program) override;
  std::vector<const RedirectTarget*> targets() const override { return table_.all(); }
  int clear() override {
    table_.clear();
    return 0;
  }

 private:
  const TargetEntry* entry(uint32_t key) const override { return table_.find(key); }

  TargetTable table_;
};

}  // namespace skep::maps
