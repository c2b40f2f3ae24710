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

}  // namespace skep::vm
