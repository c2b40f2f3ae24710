# Included by tests/CMakeLists.txt: the tests of loader/legacy_maps.cpp. They open the rewritten objects with an
# unbound libbpf, so that its requests reach the host kernel.
find_package(GTest REQUIRED)
include(GoogleTest)

set(objects)
function(skep_legacy_object name source)
  skep_bpf_object(${name} "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${source}" FLAGS ${ARGN})
  string(MAKE_C_IDENTIFIER "bpf_${name}" target)
  set(objects ${objects} ${target} PARENT_SCOPE)
endfunction()

skep_legacy_object(legacy_maps.bpf.o legacy_maps.bpf.c)
skep_legacy_object(legacy_maps_plain.bpf.o legacy_maps.bpf.c -g0 -DSKIP_STATIC)
skep_legacy_object(legacy_maps_plain_static.bpf.o legacy_maps.bpf.c -g0)
skep_legacy_object(legacy_maps_long.bpf.o legacy_maps.bpf.c -DLONG_DEFINITION)
skep_legacy_object(mixed_maps.bpf.o mixed_maps.bpf.c)
skep_legacy_object(legacy_short.bpf.o refused_maps.bpf.c -DSHORT_DEFINITION)
skep_legacy_object(legacy_extra.bpf.o refused_maps.bpf.c -DEXTRA_FIELD)
skep_legacy_object(legacy_uneven.bpf.o refused_maps.bpf.c -DUNEVEN_SIZES)
skep_legacy_object(legacy_between.bpf.o refused_maps.bpf.c -DBETWEEN_MAPS)
skep_legacy_object(legacy_none.bpf.o refused_maps.bpf.c -DNO_MAPS)

add_executable(legacy_maps_test "${CMAKE_CURRENT_LIST_DIR}/legacy_maps_test.cpp"
                                "${CMAKE_CURRENT_LIST_DIR}/../kernel_access.cpp"
                                "${PROJECT_SOURCE_DIR}/loader/legacy_maps.cpp")
target_include_directories(legacy_maps_test PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(legacy_maps_test PRIVATE PkgConfig::LIBBPF elf fmt::fmt GTest::gtest_main)
target_compile_definitions(legacy_maps_test PRIVATE SKEP_BPF_DIR="${SKEP_BPF_DIR}")
add_dependencies(legacy_maps_test ${objects})
gtest_discover_tests(legacy_maps_test)
