#include <skep/machine.hpp>

#include <cstdio>

int main(int, char** argv) {
  const auto machine = skep::Machine::create({.cpus = 4});
  const auto object = machine->open(argv[1]);
  if (!object || !object->load()) return 1;
  const std::byte memory[4] = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  const auto result = object->program("checksum")->run(3, {.data = memory});
  std::printf("%llx\n", static_cast<unsigned long long>(result->return_value));
  return result->fault ? 1 : 0;
}
