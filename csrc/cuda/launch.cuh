// SPDX-License-Identifier: Apache-2.0
// Starting a kernel, walking its grid, and moving chunks of elements through registers.
//
// nvcc builds the .cu files for the GPU. The tests build the same files as plain C++ against an
// emulation of the execution model (tests/cpp/cuda/emulation.h) and run them thread by thread.
#pragma once

#include <cstdint>

#include "cuda/grid.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "cuda/emulation.h"
#endif

namespace edgeqat::cuda {

#if defined(__CUDACC__)
// Of the current device. A failure leaves 1: the launch that follows reports the error.
inline int MultiprocessorCount() {
  int device = 0;
  int count = 1;
  if (cudaGetDevice(&device) != cudaSuccess) return 1;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return 1;
  return count;
}

// Errors stay in cudaGetLastError for the caller's launch check.
template <typename... Parameters>
void Launch(void (*kernel)(Parameters...), int blocks, cudaStream_t stream,
            Parameters... arguments) {
  if (blocks == 0) return;
  kernel<<<blocks, kBlockThreads, 0, stream>>>(arguments...);
}
#endif

// This thread's first item and its stride over the whole grid, in 64 bits: a product of two
// 32-bit values would wrap from 2^32 chunks on.
__device__ inline std::int64_t FirstItem() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t ItemStride() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

// kCount elements that are loaded and stored as a whole: at most 16 bytes per instruction.
template <typename T, int kCount = kChunk>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T values[kCount];
};

// The elements [first, first + count) of `source`; the rest of the pack is zero. `whole` (count is
// kCount and the address is aligned) takes the vector path, which yields the same values.
template <typename T, int kCount = kChunk>
__device__ inline Pack<T, kCount> LoadPack(const T* source, std::int64_t first, int count,
                                           bool whole) {
  if (whole) return *reinterpret_cast<const Pack<T, kCount>*>(source + first);
  Pack<T, kCount> pack{};
  for (int k = 0; k < kCount; ++k) {
    if (k < count) pack.values[k] = source[first + k];
  }
  return pack;
}

template <typename T, int kCount = kChunk>
__device__ inline void StorePack(T* destination, std::int64_t first, int count, bool whole,
                                 const Pack<T, kCount>& pack) {
  if (whole) {
    *reinterpret_cast<Pack<T, kCount>*>(destination + first) = pack;
    return;
  }
  for (int k = 0; k < kCount; ++k) {
    if (k < count) destination[first + k] = pack.values[k];
  }
}

}  // namespace edgeqat::cuda
