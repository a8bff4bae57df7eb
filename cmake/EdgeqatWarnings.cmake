# SPDX-License-Identifier: Apache-2.0
# One interface target with the warnings and sanitizers of every target of the project.
add_library(edgeqat_options INTERFACE)
target_compile_options(edgeqat_options INTERFACE -Wall -Wextra -Wno-psabi
                                                 $<$<BOOL:${EDGEQAT_WERROR}>:-Werror>)
if(EDGEQAT_SANITIZE)
  target_compile_options(edgeqat_options INTERFACE -fsanitize=${EDGEQAT_SANITIZE} -fno-omit-frame-pointer
                                                   -fno-sanitize-recover=all)
  target_link_options(edgeqat_options INTERFACE -fsanitize=${EDGEQAT_SANITIZE})
endif()
