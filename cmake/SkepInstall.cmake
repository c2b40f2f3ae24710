# What `cmake --install` installs: headers, both libraries, the commands, the preload library, a CMake package and a
# pkg-config file.
include(CMakePackageConfigHelpers)

install(DIRECTORY include/skep DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS skep_static skep_shared
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${SKEP_BOUND_LIBBPF}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS skep skep-conformance RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

set(SKEP_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/skep")
configure_package_config_file(cmake/skepConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/skepConfig.cmake"
  INSTALL_DESTINATION "${SKEP_CMAKE_DIR}" PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/skepConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/skepConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/skepConfigVersion.cmake"
  DESTINATION "${SKEP_CMAKE_DIR}")

# Relative, so that `cmake --install --prefix` may choose another place.
file(RELATIVE_PATH SKEP_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/skep.pc.in "${CMAKE_CURRENT_BINARY_DIR}/skep.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/skep.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
