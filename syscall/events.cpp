#include "maps/doorbell.hpp"
#include "syscall/bpf.hpp"
#include "syscall/errno_keeper.hpp"
#include "syscall/object_table.hpp"

namespace skep::sys {
namespace {

maps::Doorbell* doorbell_of(KernelObject& object) {
  if (object.kind == Kind::kMap) return static_cast<MapObject&>(object).map->doorbell();
  if (object.kind == Kind::kPerfEvent) return static_cast<PerfEventObject&>(object).event.get();
  return nullptr;
}

}  // namespace

WaitTarget wait_target(vm::Machine& machine, int descriptor) {
  const ErrnoKeeper keeper;
  auto& objects = machine.part<ObjectTable>();
  const auto found = objects.at(descriptor);
  maps::Doorbell* const doorbell = found ? doorbell_of(*found->object) : nullptr;
  if (doorbell == nullptr) return {descriptor, 0};
  objects.expect_waiting();
  const int bell = doorbell->descriptor();
  return bell < 0 ? WaitTarget{descriptor, 0} : WaitTarget{bell, doorbell->foreign_events()};
}

void before_waiting(vm::Machine& machine) {
  const ErrnoKeeper keeper;
  auto& objects = machine.part<ObjectTable>();
  if (!objects.waiting_expected()) return;
  for (const Kind kind : {Kind::kMap, Kind::kPerfEvent})
    for (const auto& object : objects.all(kind))
      if (maps::Doorbell* doorbell = doorbell_of(*object)) doorbell->settle();
}

}  // namespace skep::sys
