# skep_bpf_object(NAME SOURCE [CPU v3] [FLAGS ...])
#
# Compiles a BPF C file with clang-19 to ${CMAKE_BINARY_DIR}/bpf/NAME and adds it to the build.
find_program(SKEP_BPF_CLANG NAMES clang-19 REQUIRED)
set(SKEP_BPF_DIR "${CMAKE_BINARY_DIR}/bpf")
file(MAKE_DIRECTORY "${SKEP_BPF_DIR}")

function(skep_bpf_object name source)
  cmake_parse_arguments(BPF "" "CPU" "FLAGS" ${ARGN})
  if(NOT BPF_CPU)
    set(BPF_CPU v3)
  endif()
  cmake_path(ABSOLUTE_PATH source OUTPUT_VARIABLE absolute)
  add_custom_command(
    OUTPUT "${SKEP_BPF_DIR}/${name}"
    COMMAND "${SKEP_BPF_CLANG}" -target bpf -mcpu=${BPF_CPU} -g -O2 -Wall -Werror
            -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} ${BPF_FLAGS}
            -MD -MF "${SKEP_BPF_DIR}/${name}.d" -c "${absolute}" -o "${SKEP_BPF_DIR}/${name}"
    DEPENDS "${absolute}"
    DEPFILE "${SKEP_BPF_DIR}/${name}.d"
    COMMENT "Compiling BPF object ${name}"
    VERBATIM)
  string(MAKE_C_IDENTIFIER "bpf_${name}" target)
  add_custom_target(${target} ALL DEPENDS "${SKEP_BPF_DIR}/${name}")
endfunction()
