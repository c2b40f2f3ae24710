# skep_room(NAME SOURCES ... [USES room...] [LIBRARIES target...])
#
# A room is a folder compiled to an object library, so that the static and the shared library are made of the
# same objects. USES names the rooms whose headers it may include; the include order is checked by a test.
function(skep_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;USES;LIBRARIES" ${ARGN})
  add_library(skep_${name} OBJECT ${ROOM_SOURCES})
  target_include_directories(skep_${name} PUBLIC "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/include")
  foreach(room IN LISTS ROOM_USES)
    target_link_libraries(skep_${name} PUBLIC skep_${room})
  endforeach()
  target_link_libraries(skep_${name} PUBLIC ${ROOM_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY SKEP_ROOMS skep_${name})
endfunction()
