// SPDX-License-Identifier: Apache-2.0
// cudaStream_t for headers that must compile where the CUDA toolkit is not installed.
#pragma once

struct CUstream_st;
using cudaStream_t = CUstream_st*;  // the same type as in <cuda_runtime.h>; redeclaring is allowed
