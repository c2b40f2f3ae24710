# libskep.a and libskep.so, both made of the rooms' objects.
include(SkepAsmjit)
get_property(SKEP_ROOM_TARGETS GLOBAL PROPERTY SKEP_ROOMS)
set(SKEP_OBJECTS "")
foreach(room IN LISTS SKEP_ROOM_TARGETS)
  list(APPEND SKEP_OBJECTS $<TARGET_OBJECTS:${room}>)
endforeach()

add_library(skep_static STATIC ${SKEP_OBJECTS})
set_target_properties(skep_static PROPERTIES OUTPUT_NAME skep)
target_link_libraries(skep_static PUBLIC Threads::Threads PRIVATE asmjit::asmjit fmt::fmt skep_libbpf)
target_include_directories(skep_static PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
                                       "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>"
                                       "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")

add_library(skep_shared SHARED ${SKEP_OBJECTS})
set_target_properties(skep_shared PROPERTIES OUTPUT_NAME skep VERSION ${PROJECT_VERSION}
                                             SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(skep_shared PUBLIC Threads::Threads PRIVATE skep_asmjit fmt::fmt skep_libbpf)
# The copy of libbpf inside is skep's own affair: whoever links skep may link a libbpf too.
target_link_options(skep_shared PRIVATE -Wl,--exclude-libs,libskep-bpf.a:libskep-asmjit.a)
target_include_directories(skep_shared PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
                                              "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
