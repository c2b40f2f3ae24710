# Included by tests/CMakeLists.txt: the contract of the rings, of which user space sees the pages. libbpf is bound to
# the machine, or talks to the host's kernel.
find_package(GTest REQUIRED)
include(GoogleTest)

skep_bpf_object(rings.bpf.o "${CMAKE_CURRENT_LIST_DIR}/rings.bpf.c")
add_executable(rings_test
  "${CMAKE_CURRENT_LIST_DIR}/../../syscall/bpf_fixture.cpp"
  "${CMAKE_CURRENT_LIST_DIR}/perf_event_array_test.cpp"
  "${CMAKE_CURRENT_LIST_DIR}/ring_fixture.cpp"
  "${CMAKE_CURRENT_LIST_DIR}/ringbuf_test.cpp"
  "${CMAKE_CURRENT_LIST_DIR}/user_ringbuf_test.cpp")
target_link_libraries(rings_test PRIVATE skep_static skep_libbpf fmt::fmt GTest::gtest_main)
target_compile_definitions(rings_test PRIVATE SKEP_BPF_DIR="${SKEP_BPF_DIR}")
add_dependencies(rings_test bpf_rings_bpf_o)
gtest_discover_tests(rings_test DISCOVERY_TIMEOUT 60 PROPERTIES LABELS threads)
