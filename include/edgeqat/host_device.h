// SPDX-License-Identifier: Apache-2.0
// Marks the functions that the C++ compiler and nvcc both build, so that one formula serves the
// CPU kernels, the CUDA kernels and the C++ user.
#pragma once

#if defined(__CUDACC__)
#define EDGEQAT_HOST_DEVICE __host__ __device__
#else
#define EDGEQAT_HOST_DEVICE
#endif

// Inlined whatever the compiler thinks, so that the loop around a formula vectorises with the
// instruction set of its kernel: EDGEQAT_INLINE on the host, EDGEQAT_FORMULA also on the device.
#if defined(__CUDACC__)
#define EDGEQAT_INLINE __forceinline__
#elif defined(__GNUC__)
#define EDGEQAT_INLINE [[gnu::always_inline]] inline
#else
#define EDGEQAT_INLINE inline
#endif
#if defined(__CUDACC__)
#define EDGEQAT_FORMULA __host__ __device__ __forceinline__
#else
#define EDGEQAT_FORMULA EDGEQAT_INLINE
#endif
