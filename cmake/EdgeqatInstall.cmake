# SPDX-License-Identifier: Apache-2.0
# `cmake --install`: headers, core archive and package files for C++ users, inside the wheel as well.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# a wheel keeps everything inside the package folder, a system install uses lib/ and include/
if(SKBUILD)
  set(EDGEQAT_PREFIX edgeqat/)
else()
  set(EDGEQAT_PREFIX "")
endif()
install(TARGETS edgeqat_core EXPORT edgeqatTargets ARCHIVE DESTINATION ${EDGEQAT_PREFIX}lib COMPONENT development
        INCLUDES DESTINATION ${EDGEQAT_PREFIX}include)
install(DIRECTORY include/edgeqat DESTINATION ${EDGEQAT_PREFIX}include COMPONENT development)
install(EXPORT edgeqatTargets NAMESPACE edgeqat:: DESTINATION ${EDGEQAT_PREFIX}share/cmake/edgeqat
        COMPONENT development)
configure_package_config_file(cmake/edgeqatConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/edgeqatConfig.cmake
                              INSTALL_DESTINATION ${EDGEQAT_PREFIX}share/cmake/edgeqat)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/edgeqatConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgeqatConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/edgeqatConfigVersion.cmake
        DESTINATION ${EDGEQAT_PREFIX}share/cmake/edgeqat COMPONENT development)
