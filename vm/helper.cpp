#include "vm/helper.hpp"

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

}  // namespace skep::vm
