# A copy of Debian's libbpf.a whose requests to the kernel are calls of loader/libbpf_binding.cpp. Renaming the calls
# in the copy, and not with the linker's --wrap, leaves the calls of whoever links skep alone.
find_program(SKEP_OBJCOPY NAMES objcopy REQUIRED)
find_library(SKEP_LIBBPF_ARCHIVE NAMES libbpf.a REQUIRED)
find_package(ZLIB REQUIRED)
find_library(SKEP_LIBELF NAMES elf REQUIRED)

set(SKEP_BOUND_LIBBPF "${CMAKE_ARCHIVE_OUTPUT_DIRECTORY}/libskep-bpf.a")
set(redefinitions)
foreach(symbol IN ITEMS syscall open64 statfs64 mkdir unlink stderr epoll_ctl epoll_wait ioctl mmap64)
  list(APPEND redefinitions --redefine-sym ${symbol}=skep_libbpf_${symbol})
endforeach()
add_custom_command(
  OUTPUT "${SKEP_BOUND_LIBBPF}"
  COMMAND "${SKEP_OBJCOPY}" ${redefinitions} "${SKEP_LIBBPF_ARCHIVE}" "${SKEP_BOUND_LIBBPF}"
  DEPENDS "${SKEP_LIBBPF_ARCHIVE}"
  COMMENT "Binding libbpf to skep"
  VERBATIM)
add_custom_target(skep_bound_libbpf DEPENDS "${SKEP_BOUND_LIBBPF}")

add_library(skep_libbpf INTERFACE)
add_dependencies(skep_libbpf skep_bound_libbpf)
target_link_libraries(skep_libbpf INTERFACE "${SKEP_BOUND_LIBBPF}" "${SKEP_LIBELF}" ZLIB::ZLIB)
