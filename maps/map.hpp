#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "maps/value_fields.hpp"
#include "skep/error.hpp"

namespace skep::maps {

class Doorbell;
class EpochDomain;
class HostObjects;
class LocalStorageMap;
class PerfEventArray;
class RedirectMap;
class RingBufferMap;
class StackTraceMap;
class UserRingBufferMap;

struct InnerTemplate;

// What BPF_MAP_CREATE says of a map, as far as the map types look at it.
struct MapSpec {
  uint32_t type = BPF_MAP_TYPE_UNSPEC;
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
  uint32_t flags = 0;
  uint32_t numa_node = 0;
  uint64_t map_extra = 0;
  std::string name;
  // Of types whose values are maps: what these have to be like.
  std::shared_ptr<const InnerTemplate> inner = nullptr;
  int inner_error = EINVAL;  // what to say where one is needed and there is none, once the rest is found good
  ValueFields fields = {};   // what BTF says of the value
  bool typed = false;        // whether BTF types of key and value are given

  // What the access flags leave. User space is held to it by its descriptors, programs by the verifier.
  bool user_may_read() const { return (flags & BPF_F_WRONLY) == 0; }
  bool user_may_write() const { return (flags & BPF_F_RDONLY) == 0; }
  bool program_may_read() const { return (flags & BPF_F_WRONLY_PROG) == 0; }
  bool program_may_write() const { return (flags & BPF_F_RDONLY_PROG) == 0; }
};

// The machine's network devices, as far as maps ask for them. Thread-safe.
class DeviceDirectory {
 public:
  virtual bool has_device(uint32_t ifindex) const = 0;

 protected:
  ~DeviceDirectory() = default;
};

// What a map needs of the machine it lives in. The epoch domain outlives every map.
struct MapEnvironment {
  unsigned cpus = 1;
  EpochDomain* epochs = nullptr;
  uint32_t hash_seed = 0;  // taken from the machine's random numbers; BPF_F_ZERO_SEED overrides it
  const DeviceDirectory* devices = nullptr;  // outlives every map; nullptr: there are none
  TimerKeeper* timers = nullptr;             // outlives every map; nullptr: values have no timers
  HostObjects* host_objects = nullptr;       // outlives every map; nullptr: there are none
};

// Bytes a program may touch: [begin, begin + size).
struct MemoryRange {
  uintptr_t begin = 0;
  size_t size = 0;
};

// Something a map's value can refer to: a program (PROG_ARRAY), a map (map-in-map). User space writes a file
// descriptor and reads an id; the map holds the object itself.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  virtual uint32_t id() const = 0;
  // What the engines' generated code reads of the object; nullptr: nothing. Lives as long as the object.
  virtual const void* run_data() const { return nullptr; }
};

// What a slot of an array of objects points at; generated code reads the first field.
struct ObjectHolder {
  const void* run_data = nullptr;
  std::shared_ptr<Object> object;
};

// How the elements of an array lie, for code that computes their addresses itself.
struct ArrayLayout {
  std::byte* elements = nullptr;
  size_t element_size = 0;  // from one element to the next
  size_t cpu_stride = 0;    // from one CPU's array to the next CPU's; 0: there is one array
};

// What for_each calls for an element; returning anything but 0 ends the walk.
class ElementVisitor {
 public:
  virtual long visit(const void* key, void* value) = 0;

 protected:
  ~ElementVisitor() = default;
};

// Where a walk through a map's elements stands (Map::step_function()). All zero: before the first.
struct WalkPosition {
  uint64_t next = 0;  // an index or a bucket
  void* element = nullptr;
  uint64_t key = 0;  // of an array's element
};
struct WalkedElement {
  const void* key = nullptr;  // nullptr: there are no more
  void* value = nullptr;
};

struct BatchCommands {
  bool lookup = false;
  bool update = false;
  bool erase = false;
  bool lookup_and_erase = false;
  // The cursor is the number of a bucket, 32 bits, not a key; reads have no flags of their own and write the
  // cursor whatever they find (__htab_map_lookup_and_delete_batch).
  bool by_bucket = false;
};

// No CPU in particular.
inline constexpr unsigned kNoCpu = UINT32_MAX;

// What Map::consume() calls for what programs sent to user space, in the order in which they sent it (of each
// CPU, where every CPU has a ring of its own).
class RecordVisitor {
 public:
  // The bytes are valid until the return. `cpu`: whose ring it is, or kNoCpu.
  virtual void record(std::span<const std::byte> bytes, unsigned cpu) = 0;
  // Records that did not fit.
  virtual void lost(uint64_t /*records*/, unsigned /*cpu*/) {}

 protected:
  ~RecordVisitor() = default;
};

// A map. The functions return 0 or a negative error number as the kernel's do, except where said otherwise.
//
// Thread safety: every function may be called from any thread at any time, provided that the caller is inside
// an epoch guard of the environment's domain (a program run is one; user-space commands take one around the
// call). Pointers handed out stay readable and writable until that guard ends, whatever other threads do to
// the element.
//
// Program side: keys and values are exactly key_size and value_size bytes, `cpu` is the caller's simulated
// CPU. User side: a per-CPU map's value is the array of every CPU's value, each rounded up to 8 bytes
// (user_value_size()).
class Map {
 public:
  Map(MapSpec spec, const MapEnvironment& environment);
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
  virtual ~Map();

  const MapSpec& spec() const { return spec_; }
  unsigned cpus() const { return cpus_; }
  // Bytes of one value as user space reads and writes it.
  virtual size_t user_value_size() const;

  // Program side.
  virtual void* lookup(const void* key, unsigned cpu);  // nullptr: no such element
  // A function that does what lookup() does, made for the map's type and key size; nullptr: none.
  using LookupFunction = void* (*)(Map& map, const void* key, unsigned cpu) noexcept;
  virtual LookupFunction lookup_function() const { return nullptr; }
  // Of types whose lookup() is a matter of a 32-bit index alone. Stays the same while the map lives.
  virtual std::optional<ArrayLayout> array_layout() const { return std::nullopt; }
  virtual void* lookup_percpu(const void* key, unsigned cpu);  // nullptr: none, or not a per-CPU map
  virtual int update(const void* key, const void* value, uint64_t flags, unsigned cpu);
  virtual int erase(const void* key);  // for user space too
  // The same for a program: a type with something to gain from knowing the CPU overrides it.
  virtual int erase_on(const void* key, unsigned cpu);
  // Of types without keys. pop() and peek() write the oldest or newest value, or zeroes where there is none
  // (-ENOENT); a type that tests_values() reads the value and says whether it is in.
  virtual int push(const void* value, uint64_t flags, unsigned cpu);
  virtual int pop(void* value, unsigned cpu);
  virtual int peek(void* value);
  virtual bool tests_values() const { return false; }
  // A function that goes to the next element of a walk; `cpu` chooses the value of a per-CPU map. nullptr:
  // the type has no walks. Others may change the map between two steps: what is in it all the time is met
  // once.
  using StepFunction = WalkedElement (*)(Map& map, WalkPosition& position, unsigned cpu) noexcept;
  virtual StepFunction step_function() const { return nullptr; }
  // The whole walk: the number of elements visited, or an error.
  long for_each(ElementVisitor& visitor, unsigned cpu);

  // User side.
  virtual int read(const void* key, void* value, uint64_t flags);
  virtual int write(const void* key, const void* value, uint64_t flags);
  virtual int read_and_erase(const void* key, void* value, uint64_t flags);
  virtual int next_key(const void* key, void* next);  // key == nullptr: the first
  // Which batch commands the type has.
  virtual BatchCommands batch_commands() const { return {}; }
  // One step of BPF_MAP_LOOKUP_BATCH and BPF_MAP_LOOKUP_AND_DELETE_BATCH. `in` is nullptr at the beginning,
  // else the cursor that the step before left in `out`; cursors are 4 bytes or key_size, whichever is larger,
  // as the kernel's. `count`: room on entry, elements copied on return.
  virtual int read_batch(const void* in, void* out, void* keys, void* values, uint32_t& count, uint64_t flags,
                         bool erase_read);

  // Empties the map, at a cost by what was touched since the last time, not by max_entries. Unlike the other
  // functions: nobody else may be using the map, and pointers into it are given up. 0, or -ENOTSUPP.
  virtual int clear();

  // The address of the single element's value for BPF_PSEUDO_MAP_VALUE; nullptr where the type has none.
  virtual void* direct_value();
  // The element value (one CPU's) that holds the address, or an empty range. For checked execution.
  virtual MemoryRange value_containing(uintptr_t address) const;
  // The key of the element whose value it is, as it is now; false: the type has none. For values with timers.
  virtual bool key_of_value(const void* value, void* key) const;
  // The descriptor that backs a BPF_F_MMAPABLE map's values, owned by the map, or -1.
  virtual int memory_descriptor() const { return -1; }

  // What the ring types can do; nullptr: the map is none of them.
  virtual RingBufferMap* ring_buffer() { return nullptr; }
  virtual UserRingBufferMap* user_ring_buffer() { return nullptr; }
  virtual PerfEventArray* perf_events() { return nullptr; }
  // What keeps the call chains of bpf_get_stackid; nullptr: the map is none.
  virtual StackTraceMap* stack_traces() { return nullptr; }
  // What stands in for the map's descriptor where user space waits for it; nullptr: there is nothing to wait
  // for.
  virtual Doorbell* doorbell() { return nullptr; }
  // Hands over what programs sent to user space, and takes it out of the map, as a reader in user space does:
  // there may be one at a time. The number of records, or an error.
  virtual long consume(RecordVisitor& visitor);
  // What maps have to be like to stand beside this one in a map of maps; nullptr: the type cannot be there.
  virtual std::shared_ptr<const InnerTemplate> as_inner() const;

  // Whether the objects are cgroups (HostObject), for helpers that ask who is in them.
  virtual bool holds_cgroups() const { return false; }
  // For types whose row says that values are objects. BPF_MAP_UPDATE_ELEM of one: check_put() says what is
  // refused before the descriptor is looked at, put_object() does it.
  virtual int check_put(const void* key, uint64_t flags) const;
  virtual int put_object(const void* key, std::shared_ptr<Object> object, uint64_t flags);
  // Of arrays.
  virtual std::shared_ptr<Object> object_at(uint32_t index);
  virtual int set_object(uint32_t index, std::shared_ptr<Object> object);  // nullptr clears
  // The object without taking a share in it, valid until the caller's epoch guard ends. For the running
  // program.
  virtual Object* peek_object(uint32_t index);
  // The same for code that looks for itself: max_entries slots, null where there is no object. To be loaded
  // with acquire; nullptr: the values are no objects. Stays the same while the map lives.
  virtual const std::atomic<ObjectHolder*>* object_slots() const { return nullptr; }

  // What bpf_redirect_map does with the map; nullptr: it does not take this type.
  virtual RedirectMap* redirects() { return nullptr; }
  // What bpf_sk_storage_get and the like do with the map; nullptr: they do not take this type.
  virtual LocalStorageMap* local_storage() { return nullptr; }
  // Whether all programs that it holds or that name it are of one kind (map_type_contains_progs).
  virtual bool holds_programs_of_one_kind() const { return false; }

  // BPF_MAP_FREEZE: no user-side writes from now on.
  bool frozen() const;
  void freeze();

  // Whether user space has a descriptor of the map or has pinned it; timers are set up only then. When it
  // lets go of the map its timers are cancelled.
  bool used_by_user() const;
  void set_used_by_user(bool used);

 protected:
  TimerKeeper* timers() const { return timers_; }

 private:
  MapSpec spec_;
  unsigned cpus_;
  TimerKeeper* timers_;
  std::atomic<bool> frozen_{false};
  std::atomic<bool> used_by_user_{true};
};

// The registry: one row per map type. No other list of map types exists.
enum class ValueKind : uint8_t { kPlain, kProgram, kMap, kPerfEvent, kCgroup };

struct MapTypeRow {
  uint32_t type;         // BPF_MAP_TYPE_*
  const char* name;      // as bpftool prints it: "hash", "percpu_array"
  bool per_cpu;          // a value per CPU
  ValueKind value_kind;  // what a user-side value means
  Result<std::shared_ptr<Map>> (*create)(const MapSpec&, const MapEnvironment&);
  // BPF_FUNC_*: the helpers that may be given a map of the type (check_map_func_compatibility() of the
  // kernel's verifier). Programs that pass one to another helper are refused.
  std::span<const int> helpers;
  FieldKinds fields = {};    // that values may have (map_check_btf())
  bool integer_key = false;  // the key's BTF type has to be a 32-bit integer
};

std::span<const MapTypeRow> map_types();
const MapTypeRow* find_map_type(uint32_t type);
const MapTypeRow* find_map_type(const char* name);
// Whether the type's row names the helper.
bool admits_helper(const Map& map, uint32_t helper);

// Checks the attributes as the kernel's map_alloc_check and map_alloc do and makes the map.
// EINVAL: unknown type or impossible attributes. E2BIG, ENOMEM as the kernel gives them.
Result<std::shared_ptr<Map>> create_map(const MapSpec& spec, const MapEnvironment& environment);

}  // namespace skep::maps
