// SPDX-License-Identifier: Apache-2.0
// ternary_fake_quantize on CUDA.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cuda/ternary_fake_quantize.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

std::tuple<Tensor, Tensor> ternary_fake_quantize_cuda(const Tensor& x,
                                                      std::optional<std::int64_t> axis,
                                                      std::optional<std::int64_t> group_size,
                                                      const std::optional<Tensor>& mask) {
  constexpr const char* kOp = "ternary_fake_quantize";
  TernaryFakeQuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  const Granularity granularity = CheckGranularity(kOp, x, axis, group_size);
  CheckMask(kOp, mask, x);

  const CudaScope scope(x);
  Tensor scale = EmptyRowMajor(ScaleShape(x, granularity), ScalarType::Float, x);
  // the order of the sums is that of x's dimensions, whatever its strides
  Elementwise data = Prepare(x, x.scalar_type(), granularity, /*row_major=*/true);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.mask = laid_out.data();
  args.y = data.out.mutable_data_ptr();
  args.scale = scale.mutable_data_ptr<float>();
  const std::int64_t bytes = cuda::TernaryWorkspace(args.layout);
  const Tensor workspace = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
  cuda::ternary_fake_quantize(args, workspace.mutable_data_ptr(), scope.stream());
  scope.CheckLaunch();
  return {data.Finish(), scale};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("ternary_fake_quantize", TORCH_BOX(&ternary_fake_quantize_cuda));
}

}  // namespace edgeqat::torch_ops
