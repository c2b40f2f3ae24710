find_package(GTest REQUIRED)
include(GoogleTest)

skep_bpf_object(inner_maps.bpf.o "${CMAKE_CURRENT_LIST_DIR}/inner_maps.bpf.c")
add_executable(inner_maps_test loader/inner_maps_test.cpp)
target_link_libraries(inner_maps_test PRIVATE skep_static fmt::fmt GTest::gtest_main)
target_compile_definitions(inner_maps_test PRIVATE SKEP_BPF_DIR="${SKEP_BPF_DIR}")
add_dependencies(inner_maps_test bpf_inner_maps_bpf_o)
gtest_discover_tests(inner_maps_test)
