# Packet files and the hash that spreads packets over CPUs: shared by the `skep` command and the samples.
skep_room(packets
  SOURCES "${CMAKE_CURRENT_LIST_DIR}/packet_file.cpp" "${CMAKE_CURRENT_LIST_DIR}/flow_hash.cpp"
  LIBRARIES PkgConfig::PCAP fmt::fmt)
