#include "ring_fixture.hpp"

#include <bpf/btf.h>

namespace skep::test {

size_t RingContract::offset(const char* name) const {
  const btf* types = bpf_object__btf(object_.get());
  const int section = btf__find_by_name_kind(types, ".bss", BTF_KIND_DATASEC);
  EXPECT_GT(section, 0);
  const btf_type* type = btf__type_by_id(types, static_cast<uint32_t>(section));
  const btf_var_secinfo* variables = btf_var_secinfos(type);
  for (uint32_t i = 0; i < btf_vlen(type); ++i) {
    const btf_type* variable = btf__type_by_id(types, variables[i].type);
    if (std::strcmp(btf__name_by_offset(types, variable->name_off), name) == 0) return variables[i].offset;
  }
  ADD_FAILURE() << "no variable " << name;
  return 0;
}

}  // namespace skep::test
