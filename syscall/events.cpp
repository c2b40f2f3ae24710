#include "maps/doorbell.hpp"
#include "syscall/bpf.hpp"
#include "syscall/errno_keeper.hpp"
#include "syscall/object_table.hpp"

namespace skep::sys {

WaitTarget wait_target(vm::Machine& machine, int descriptor) {
  const ErrnoKeeper keeper;
  const auto map = map_of_descriptor(machine, descriptor);
  maps::Doorbell* const doorbell = map ? map->doorbell() : nullptr;
  if (doorbell == nullptr) return {descriptor, 0};
  machine.part<ObjectTable>().expect_waiting();
  const int bell = doorbell->descriptor();
  return bell < 0 ? WaitTarget{descriptor, 0} : WaitTarget{bell, doorbell->foreign_events()};
}

void before_waiting(vm::Machine& machine) {
  const ErrnoKeeper keeper;
  auto& objects = machine.part<ObjectTable>();
  if (!objects.waiting_expected()) return;
  for (const auto& object : objects.all(Kind::kMap))
    if (maps::Doorbell* doorbell = static_cast<MapObject&>(*object).map->doorbell()) doorbell->settle();
}

}  // namespace skep::sys
