find_package(GTest REQUIRED)
include(GoogleTest)

add_executable(runner_test loader/runner_test.cpp)
target_link_libraries(runner_test PRIVATE skep_static fmt::fmt GTest::gtest_main)
gtest_discover_tests(runner_test PROPERTIES LABELS threads)
