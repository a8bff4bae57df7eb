// SPDX-License-Identifier: Apache-2.0
// Marks what both compilers build: device code for nvcc, plain functions for the host tests.
#pragma once

#if defined(__CUDACC__)
#define EDGEQAT_HOST_DEVICE __host__ __device__
#else
#define EDGEQAT_HOST_DEVICE
#endif
