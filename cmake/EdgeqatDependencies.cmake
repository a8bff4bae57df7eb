# SPDX-License-Identifier: Apache-2.0
# Finds the installed packages first; fetches a pinned release only where one is absent.
include(FetchContent)

macro(edgeqat_dependency package target url)
  find_package(${package} QUIET)
  if(NOT TARGET ${target})
    if(NOT EDGEQAT_FETCH)
      message(FATAL_ERROR "edgeqat needs ${package}, which is not installed. Install it (Debian: libabsl-dev "
                          "libeigen3-dev libgtest-dev nlohmann-json3-dev) or configure with -DEDGEQAT_FETCH=ON.")
    endif()
    message(STATUS "edgeqat: ${package} is not installed, fetching ${url}")
    FetchContent_Declare(${package} URL ${url} DOWNLOAD_EXTRACT_TIMESTAMP TRUE)
    FetchContent_MakeAvailable(${package})
  endif()
endmacro()

set(ABSL_PROPAGATE_CXX_STD ON)
set(ABSL_ENABLE_INSTALL OFF)
set(JSON_Install OFF CACHE INTERNAL "")
edgeqat_dependency(absl absl::strings https://github.com/abseil/abseil-cpp/archive/refs/tags/20240722.0.tar.gz)
edgeqat_dependency(Eigen3 Eigen3::Eigen https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz)
edgeqat_dependency(nlohmann_json nlohmann_json::nlohmann_json
                   https://github.com/nlohmann/json/archive/refs/tags/v3.11.3.tar.gz)
if(EDGEQAT_BUILD_TESTS)
  edgeqat_dependency(GTest GTest::gtest_main https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz)
endif()
find_package(ZLIB REQUIRED)
find_package(Threads REQUIRED)
