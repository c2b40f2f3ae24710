find_package(GTest REQUIRED)
include(GoogleTest)

add_executable(runner_test loader/forwarding_test.cpp loader/runner_test.cpp)
target_link_libraries(runner_test PRIVATE skep_static fmt::fmt GTest::gtest_main)
target_compile_definitions(runner_test PRIVATE SKEP_BPF_DIR="${SKEP_BPF_DIR}")
add_dependencies(runner_test skep_samples)
gtest_discover_tests(runner_test PROPERTIES LABELS threads)
