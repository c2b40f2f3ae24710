#pragma once

#include <atomic>
#include <memory>

#include "maps/epoch.hpp"
#include "maps/map.hpp"
#include "maps/mapping.hpp"

namespace skep::maps {

// BPF_MAP_TYPE_PROG_ARRAY: an array whose elements are objects, or empty. User space sets them through
// set_object() and reads their ids; write() refuses, since a descriptor means nothing here. Semantics:
// kernel/bpf/arraymap.c fd_array_*. An object that was replaced is let go of when every guard that could have
// seen it has ended.
class ObjectArray : public Map {
 public:
  static Result<std::shared_ptr<Map>> create(const MapSpec& spec, const MapEnvironment& environment);
  ObjectArray(const MapSpec& spec, const MapEnvironment& environment, Mapping storage);
  ~ObjectArray() override;

  int erase(const void* key) override;
  int read(const void* key, void* value, uint64_t flags) override;
  int write(const void* key, const void* value, uint64_t flags) override;
  int next_key(const void* key, void* next) override;

  std::shared_ptr<const InnerTemplate> as_inner() const override { return nullptr; }

  int check_put(const void* key, uint64_t flags) const override;
  int put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags) override;
  std::shared_ptr<Object> object_at(uint32_t index) override;
  int set_object(uint32_t index, std::shared_ptr<Object> object) override;
  Object* peek_object(uint32_t index) override;
  const std::atomic<ObjectHolder*>* object_slots() const override { return &slot(0); }

 protected:
  // The slots of an array that the attributes describe.
  static Result<Mapping> storage_for(const MapSpec& spec);
  // Zeroed memory for max_entries of them; false: there is none.
  static Mapping slots_for(const MapSpec& spec);
  const ObjectHolder* holder_at(uint32_t index) const;
  // Sets an element where the flags (BPF_ANY, BPF_NOEXIST, BPF_EXIST) allow it. 0, -EEXIST, -ENOENT, -ENOMEM.
  int put_if(uint32_t index, std::shared_ptr<Object> object, uint64_t flags);
  // Empties all elements that hold the object, which is put nowhere any more.
  void remove_object(const Object& object);

 private:
  struct Holder : ObjectHolder, EpochDomain::Retired {};

  std::atomic<ObjectHolder*>& slot(uint32_t index) const {
    return reinterpret_cast<std::atomic<ObjectHolder*>*>(storage_.data())[index];
  }
  static std::unique_ptr<Holder> hold(std::shared_ptr<Object> object);
  bool exchange(uint32_t index, Holder* holder);
  void count_in(const Holder* holder);
  bool retire(Holder* old);

  EpochDomain& epochs_;
  Mapping storage_;
  std::atomic<uint32_t> held_{0};
};

}  // namespace skep::maps
