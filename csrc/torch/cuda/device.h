// SPDX-License-Identifier: Apache-2.0
// Every CUDA operator's frame: the tensor's device first, torch's current stream, the launch check
// last.
#pragma once

#include <cuda_runtime_api.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/tensor.h>

namespace edgeqat::torch_ops {

// Values of scales, zero points, ranges and codes are not checked on CUDA: looking at them would
// wait for the device at every call and could not be captured into a CUDA graph. docs/cuda.md says
// what wrong values give.
//
//   const CudaScope scope(x);               // before any allocation or launch
//   edgeqat::cuda::quantize(args, scope.stream());
//   scope.CheckLaunch();                    // after the last launch
class CudaScope {
 public:
  explicit CudaScope(const torch::stable::Tensor& data)
      : guard_(data.get_device_index()), stream_(nullptr) {
    // cudart is linked statically and keeps its own idea of the current device, next to torch's
    STD_CUDA_CHECK(cudaSetDevice(data.get_device_index()));
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_get_current_cuda_stream(data.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  [[nodiscard]] cudaStream_t stream() const { return stream_; }

  // Throws what the launches left in cudaGetLastError, worded by torch.
  void CheckLaunch() const { STD_CUDA_KERNEL_LAUNCH_CHECK(); }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

}  // namespace edgeqat::torch_ops
