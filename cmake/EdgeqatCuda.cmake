# SPDX-License-Identifier: Apache-2.0
# The CUDA library: whether to build it, for which GPUs, and how to link it where torch has no CUDA.
set(EDGEQAT_CUDA AUTO CACHE STRING "Build libedgeqat_cuda: ON, OFF, or AUTO (ON where torch has CUDA and nvcc is found)")
set_property(CACHE EDGEQAT_CUDA PROPERTY STRINGS AUTO ON OFF)
# Turing, A100, RTX 30, RTX 40 and H100; 90 without -real adds PTX, which later GPUs translate.
set(EDGEQAT_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90" CACHE STRING
    "GPU architectures; one, such as 90-real, for a quick compile check")

if(NOT EDGEQAT_BUILD_OPS OR EDGEQAT_CUDA STREQUAL "OFF")
  return()
endif()
find_program(EDGEQAT_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
set(EDGEQAT_TORCH_CUDA_LIBRARY ${EDGEQAT_TORCH_ROOT}/lib/libtorch_cuda.so)
if(EDGEQAT_CUDA STREQUAL "AUTO")
  if(NOT EDGEQAT_NVCC OR NOT EXISTS ${EDGEQAT_TORCH_CUDA_LIBRARY})
    message(STATUS "edgeqat: no CUDA library (this torch has no CUDA, or nvcc is absent); "
                   "-DEDGEQAT_CUDA=ON builds it all the same")
    return()
  endif()
elseif(NOT EDGEQAT_NVCC)
  message(FATAL_ERROR "edgeqat: EDGEQAT_CUDA=ON needs nvcc, found none on PATH or in /usr/local/cuda. Install the "
                      "CUDA toolkit 12.0 or newer, set CUDACXX, or configure with -DEDGEQAT_CUDA=OFF.")
endif()

set(CMAKE_CUDA_COMPILER ${EDGEQAT_NVCC})
set(CMAKE_CUDA_ARCHITECTURES ${EDGEQAT_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(EDGEQAT_CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${EDGEQAT_CCACHE})
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
find_package(CUDAToolkit 12.0 REQUIRED)

# edgeqat_torch_cuda: what the linker needs of libtorch_cuda. Without it in this torch, a stub with the same SONAME
# defines exactly the functions that the library may use, so that any other undefined symbol fails the link.
if(EXISTS ${EDGEQAT_TORCH_CUDA_LIBRARY})
  add_library(edgeqat_torch_cuda INTERFACE)
  target_link_libraries(edgeqat_torch_cuda INTERFACE ${EDGEQAT_TORCH_CUDA_LIBRARY})
else()
  set(stub ${CMAKE_CURRENT_BINARY_DIR}/torch_cuda_stub/stub.c)
  file(CONFIGURE OUTPUT ${stub} CONTENT "int aoti_torch_get_current_cuda_stream, torch_c10_cuda_check_msg, \
torch_c10_cuda_free_error_msg;\n")
  enable_language(C)
  add_library(edgeqat_torch_cuda SHARED ${stub})
  set_target_properties(edgeqat_torch_cuda PROPERTIES OUTPUT_NAME torch_cuda C_VISIBILITY_PRESET default
                        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/torch_cuda_stub)
endif()

add_subdirectory(csrc/cuda)
