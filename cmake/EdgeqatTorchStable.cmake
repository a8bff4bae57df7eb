# SPDX-License-Identifier: Apache-2.0
# edgeqat::torch_stable: the headers of the installed torch, restricted to the stable ABI of 2.10, and libtorch_cpu.
# find_package(Torch) is not used: it would add include paths and flags that a stable library must not have.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
if(NOT EDGEQAT_TORCH_ROOT)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u, os; s = u.find_spec('torch'); print(os.path.dirname(s.origin) if s else '')"
    OUTPUT_VARIABLE EDGEQAT_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
if(NOT EXISTS "${EDGEQAT_TORCH_ROOT}/include/torch/csrc/stable/library.h")
  message(FATAL_ERROR "edgeqat needs torch >= 2.10 to build its operators; none was found by ${Python_EXECUTABLE}. "
                      "Install torch there, or set -DEDGEQAT_TORCH_ROOT=<.../site-packages/torch>, or build only "
                      "the core with -DEDGEQAT_BUILD_OPS=OFF -DEDGEQAT_BUILD_PYTHON=OFF.")
endif()
message(STATUS "edgeqat: torch headers from ${EDGEQAT_TORCH_ROOT}")

add_library(edgeqat_torch_stable INTERFACE)
add_library(edgeqat::torch_stable ALIAS edgeqat_torch_stable)
target_include_directories(edgeqat_torch_stable SYSTEM INTERFACE ${EDGEQAT_TORCH_ROOT}/include)
target_compile_definitions(edgeqat_torch_stable INTERFACE TORCH_TARGET_VERSION=0x020a000000000000)
# torch loads its libraries RTLD_LOCAL: without DT_NEEDED on libtorch_cpu the shim symbols stay undefined at load time.
target_link_libraries(
  edgeqat_torch_stable
  INTERFACE "-Wl,--push-state,--no-as-needed,${EDGEQAT_TORCH_ROOT}/lib/libtorch_cpu.so,--pop-state")
