#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/command.hpp"

namespace skep::tools {
namespace {

struct ListArguments {
  ObjectArguments object;
  bool json = false;
};

nlohmann::ordered_json as_json(const ProgramInfo& program) {
  return {{"name", program.name},
          {"type", program.type},
          {"section", program.section},
          {"instructions", program.instructions}};
}

nlohmann::ordered_json as_json(const MapInfo& map) {
  return {{"name", map.name},
          {"type", map.type},
          {"key_size", map.key_size},
          {"value_size", map.value_size},
          {"max_entries", map.max_entries},
          {"flags", map.flags},
          {"map_extra", map.map_extra},
          {"numa_node", map.numa_node},
          {"pin_path", map.pin_path},
          {"internal", map.internal}};
}

void print_json(const Object& object) {
  nlohmann::ordered_json out;
  out["programs"] = nlohmann::ordered_json::array();
  out["maps"] = nlohmann::ordered_json::array();
  for (const ProgramInfo& program : object.programs()) out["programs"].push_back(as_json(program));
  for (const MapInfo& map : object.maps()) out["maps"].push_back(as_json(map));
  fmt::print("{}\n", out.dump(2));
}

void print_text(const Object& object) {
  for (const ProgramInfo& program : object.programs())
    fmt::print("program {}  type {}  section {}  instructions {}\n", program.name, program.type,
               program.section.empty() ? "-" : program.section, program.instructions);
  for (const MapInfo& map : object.maps()) {
    fmt::print("map {}  type {}  key {}  value {}  max_entries {}  flags {:#x}", map.name, map.type,
               map.key_size, map.value_size, map.max_entries, map.flags);
    if (map.map_extra != 0) fmt::print("  map_extra {}", map.map_extra);
    if (map.numa_node != 0) fmt::print("  numa_node {}", map.numa_node);
    if (!map.pin_path.empty()) fmt::print("  pin_path {}", map.pin_path);
    fmt::print("{}\n", map.internal ? "  (global data)" : "");
  }
}

int list(const ListArguments& arguments) {
  const auto machine = Machine::create();
  if (!machine) {
    report_error(machine.error().message);
    return kBadInput;
  }
  const auto object = machine->open(arguments.object.path, arguments.object.options());
  if (!object) {
    report_error(object.error().message);
    return kBadInput;
  }
  arguments.json ? print_json(*object) : print_text(*object);
  return kDone;
}

}  // namespace

void add_list_command(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("list", "list an object's programs and maps with all their attributes");
  auto arguments = std::make_shared<ListArguments>();
  arguments->object.add_to(*command, false);
  command->add_flag("--json", arguments->json, "print one JSON object");
  command->callback([arguments, &status] { status = list(*arguments); });
}

}  // namespace skep::tools
