#include "tools/record_log.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "tools/btf_value.hpp"

namespace skep::tools {

Result<RecordLog> RecordLog::create(const Object& object, const std::vector<std::string>& types, bool keep) {
  RecordLog log(object, keep);
  for (Map& map : object.loaded_maps())
    if (map.sends_records()) log.channels_.push_back({.map = map});
  for (const std::string& choice : types) {
    const size_t sign = choice.find('=');
    const auto found = std::ranges::find(log.channels_, choice.substr(0, sign),
                                         [](const Channel& channel) { return channel.map.name(); });
    if (sign == std::string::npos || found == log.channels_.end())
      return fail(ENOENT,
                  fmt::format("--record-type {}: no ring buffer or perf event array of that name", choice));
    const std::string name = choice.substr(sign + 1);
    const int type = object.btf() != nullptr ? btf__find_by_name(object.btf(), name.c_str()) : -1;
    if (type <= 0)
      return fail(ENOENT, fmt::format("--record-type {}: the object's BTF has no such type", choice));
    found->type = static_cast<uint32_t>(type);
  }
  return log;
}

Result<void> RecordLog::collect() {
  for (Channel& channel : channels_) {
    const auto taken = channel.map.consume([&](const SentRecord& record) {
      channel.lost += record.lost;
      if (record.lost != 0) return;
      ++channel.sent;
      if (keep_) channel.records.push_back({record.cpu, {record.data.begin(), record.data.end()}});
    });
    if (!taken) return std::unexpected(taken.error());
  }
  return {};
}

const RecordLog::Channel* RecordLog::find(const Map& map) const {
  const auto found = std::ranges::find(channels_, map.descriptor(),
                                       [](const Channel& channel) { return channel.map.descriptor(); });
  return found == channels_.end() ? nullptr : &*found;
}

void RecordLog::add_to(nlohmann::ordered_json& out, const Map& map) const {
  const Channel* channel = find(map);
  if (channel == nullptr) return;
  out["sent"] = channel->sent;
  out["lost"] = channel->lost;
  auto& records = out["records"] = nlohmann::ordered_json::array();
  for (const Record& record : channel->records) {
    nlohmann::ordered_json one;
    if (record.cpu) one["cpu"] = *record.cpu;
    one["value"] = to_json(object_.btf(), channel->type, record.bytes);
    records.push_back(std::move(one));
  }
}

std::string RecordLog::text(const Map& map) const {
  const Channel* channel = find(map);
  if (channel == nullptr) return {};
  std::string out = fmt::format("records {}: {}{}\n", map.name(), channel->sent,
                                channel->lost != 0 ? fmt::format(", {} lost", channel->lost) : "");
  for (const Record& record : channel->records) {
    if (record.cpu) out += fmt::format("  cpu {}", *record.cpu);
    out += fmt::format("  {}\n", to_text(object_.btf(), channel->type, record.bytes));
  }
  return out;
}

}  // namespace skep::tools
