// SPDX-License-Identifier: Apache-2.0
// The attributes that turn one inlined loop into one function per instruction set.
#pragma once

// Kernel bodies are plain loops in always-inline functions (*-inl.h). Each instruction set has a
// thin entry that carries a target attribute and inlines the body. No file has architecture flags
// of its own: a standard-library function compiled with AVX-512 flags could be the copy that the
// linker keeps for everybody.
#define EDGEQAT_ALWAYS_INLINE [[gnu::always_inline]] inline

#if defined(__x86_64__)
#define EDGEQAT_X86 1
#define EDGEQAT_TARGET_V3 [[gnu::target("arch=x86-64-v3")]]
#define EDGEQAT_TARGET_V4 [[gnu::target("arch=x86-64-v4")]]
#else
#define EDGEQAT_X86 0
#endif
