#include "vm/helper.hpp"

#include <linux/bpf.h>

#include <iterator>
#include <utility>

namespace skep::vm {

const HelperRow* HelperTable::find(uint64_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

void HelperTable::put(HelperRow row) {
  const uint32_t id = row.id;
  by_id_[id] = &rows_.emplace_back(std::move(row));
}

void HelperTable::put_custom(uint32_t id, std::string name, CustomHelper function) {
  const HelperRow* replaced = find(id);
  HelperRow row = replaced
                      ? *replaced
                      : HelperRow{.id = id,
                                  .arguments = {Argument::kAnything, Argument::kAnything, Argument::kAnything,
                                                Argument::kAnything, Argument::kAnything}};
  row.name = names_.emplace_back(std::move(name)).c_str();
  row.special = Special::kNone;
  row.intrinsic = Intrinsic::kNone;
  row.function = nullptr;
  row.custom = std::move(function);
  put(std::move(row));
}

const char* kernel_helper_name(uint64_t id) {
#define SKEP_NAME(name) #name
  static constexpr const char* kNames[] = {__BPF_FUNC_MAPPER(SKEP_NAME)};
#undef SKEP_NAME
  return id != 0 && id < std::size(kNames) ? kNames[id] : nullptr;
}

}  // namespace skep::vm
