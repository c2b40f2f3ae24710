# Included by tests/CMakeLists.txt: the tests of tools/btf_value.cmake. They read the types of an object that is
# never opened, so libbpf makes no request of a kernel and need not be bound to a machine.
find_package(GTest REQUIRED)
include(GoogleTest)

skep_bpf_object(btf_value.bpf.o "${CMAKE_CURRENT_LIST_DIR}/btf_value.bpf.c")
add_executable(btf_value_test "${CMAKE_CURRENT_LIST_DIR}/btf_value_test.cpp"
                              "${PROJECT_SOURCE_DIR}/tools/btf_value.cpp")
target_include_directories(btf_value_test PRIVATE "${PROJECT_SOURCE_DIR}")
target_link_libraries(btf_value_test PRIVATE PkgConfig::LIBBPF nlohmann_json::nlohmann_json fmt::fmt
                                             GTest::gtest_main)
target_compile_definitions(btf_value_test PRIVATE SKEP_BPF_DIR="${SKEP_BPF_DIR}")
add_dependencies(btf_value_test bpf_btf_value_bpf_o)
gtest_discover_tests(btf_value_test)
