// SPDX-License-Identifier: Apache-2.0
// Takes the place of csrc/torch/cuda/device.h where the CUDA operators run over emulated kernels:
// the tensors are in host memory, there is no device to select and no launch that could fail.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include "cuda/stream.h"

namespace edgeqat::torch_ops {

class CudaScope {
 public:
  explicit CudaScope(const torch::stable::Tensor&) {}
  [[nodiscard]] cudaStream_t stream() const { return nullptr; }
  void CheckLaunch() const {}
};

}  // namespace edgeqat::torch_ops
