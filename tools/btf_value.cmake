# Bytes in words, by their BTF type: for whatever shows maps and variables.
skep_room(btf_value
  SOURCES "${CMAKE_CURRENT_LIST_DIR}/btf_value.cpp"
  LIBRARIES nlohmann_json::nlohmann_json fmt::fmt skep_libbpf)
