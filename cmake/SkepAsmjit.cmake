# skep_asmjit: a copy of Debian's libasmjit.a that can go into a shared library. The archive is position-independent
# but for its use of stderr, which the copy takes from jit/asmjit_stream.cpp.
include_guard(GLOBAL)
find_program(SKEP_OBJCOPY NAMES objcopy REQUIRED)
get_target_property(SKEP_ASMJIT_INCLUDES asmjit::asmjit INTERFACE_INCLUDE_DIRECTORIES)

set(SKEP_SHAREABLE_ASMJIT "${CMAKE_ARCHIVE_OUTPUT_DIRECTORY}/libskep-asmjit.a")
add_custom_command(
  OUTPUT "${SKEP_SHAREABLE_ASMJIT}"
  COMMAND "${CMAKE_COMMAND}" -E make_directory "${CMAKE_ARCHIVE_OUTPUT_DIRECTORY}"
  COMMAND "${SKEP_OBJCOPY}" --redefine-sym stderr=skep_asmjit_stderr "$<TARGET_FILE:asmjit::asmjit>"
          "${SKEP_SHAREABLE_ASMJIT}"
  COMMENT "Making asmjit fit for shared libraries"
  VERBATIM)
add_custom_target(skep_shareable_asmjit DEPENDS "${SKEP_SHAREABLE_ASMJIT}")

add_library(skep_asmjit INTERFACE)
add_dependencies(skep_asmjit skep_shareable_asmjit)
target_include_directories(skep_asmjit SYSTEM INTERFACE ${SKEP_ASMJIT_INCLUDES})
target_link_libraries(skep_asmjit INTERFACE "${SKEP_SHAREABLE_ASMJIT}")
