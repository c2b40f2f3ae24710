# Included by tests/CMakeLists.txt: the tests of tools/packets.cmake.
find_package(GTest REQUIRED)
include(GoogleTest)

add_executable(packets_test "${CMAKE_CURRENT_LIST_DIR}/packet_file_test.cpp"
                            "${CMAKE_CURRENT_LIST_DIR}/flow_hash_test.cpp")
target_link_libraries(packets_test PRIVATE skep_packets GTest::gtest_main)
gtest_discover_tests(packets_test)
