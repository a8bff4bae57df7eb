// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize on CUDA.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "cuda/quantize.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

Tensor quantize_cuda(const Tensor& x, const Tensor& scale, const Tensor& zero_point,
                     std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
                     std::optional<std::int64_t> group_size) {
  constexpr const char* kOp = "quantize";
  QuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckRange(kOp, qmin, qmax);
  const Granularity granularity = CheckQParams(kOp, x, scale, zero_point, axis, group_size);

  const CudaScope scope(x);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  Elementwise data = Prepare(x, qmin < 0 ? ScalarType::Char : ScalarType::Byte, granularity,
                             /*row_major=*/false);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.codes = data.out.mutable_data_ptr();
  cuda::quantize(args, scope.stream());
  scope.CheckLaunch();
  return data.Finish();
}

Tensor dequantize_cuda(const Tensor& codes, const Tensor& scale, const Tensor& zero_point,
                       std::optional<std::int64_t> axis, std::optional<std::int64_t> group_size) {
  constexpr const char* kOp = "dequantize";
  DequantizeArgs args;
  args.is_signed = CheckCodes(kOp, "codes", codes);
  const Granularity granularity = CheckQParams(kOp, codes, scale, zero_point, axis, group_size);

  const CudaScope scope(codes);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  Elementwise data = Prepare(codes, ScalarType::Float, granularity, /*row_major=*/false);
  args.layout = data.layout;
  args.codes = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.y = data.out.mutable_data_ptr<float>();
  cuda::dequantize(args, scope.stream());
  scope.CheckLaunch();
  return data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("quantize", TORCH_BOX(&quantize_cuda));
  m.impl("dequantize", TORCH_BOX(&dequantize_cuda));
}

}  // namespace edgeqat::torch_ops
