#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "skep/machine.hpp"

namespace skep::tools {

// What a program sends through its ring buffers and perf event arrays while it is run.
class RecordLog {
 public:
  // `types`: "MAP=TYPE", the BTF type of a map's records. ENOENT: no such map or type. `keep`: the records
  // themselves are wanted, not their number alone.
  static Result<RecordLog> create(const Object& object, const std::vector<std::string>& types, bool keep);

  // Whether there is anything to listen to.
  bool listens() const { return !channels_.empty(); }
  // Takes what was sent since the last time; the first time begins to listen.
  Result<void> collect();

  // Adds to a map's JSON {records: [{cpu, value}], sent, lost}; a map that sends none stays as it is.
  void add_to(nlohmann::ordered_json& out, const Map& map) const;
  // The same for a reader: a line for the map, and one for each record that was kept.
  std::string text(const Map& map) const;

 private:
  struct Record {
    std::optional<unsigned> cpu;
    std::vector<std::byte> bytes;
  };
  struct Channel {
    Map map;
    uint32_t type = 0;  // in the object's BTF; 0: unknown
    uint64_t sent = 0;
    uint64_t lost = 0;
    std::vector<Record> records = {};
  };

  RecordLog(const Object& object, bool keep) : object_(object), keep_(keep) {}
  const Channel* find(const Map& map) const;

  Object object_;
  bool keep_;
  std::vector<Channel> channels_;
};

}  // namespace skep::tools
