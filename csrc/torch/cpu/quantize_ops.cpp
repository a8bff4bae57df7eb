// SPDX-License-Identifier: Apache-2.0
// quantize and dequantize on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "edgeqat/quantize.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

Tensor quantize_cpu(const Tensor& x, const Tensor& scale, const Tensor& zero_point,
                    std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
                    std::optional<std::int64_t> group_size) {
  constexpr const char* kOp = "quantize";
  QuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  CheckRange(kOp, qmin, qmax);
  const Granularity granularity = CheckQParams(kOp, x, scale, zero_point, axis, group_size);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  CheckScaleValues(kOp, scales);
  CheckZeroPointValues(kOp, zero_points, qmin, qmax);

  const ScalarType dtype = qmin < 0 ? ScalarType::Char : ScalarType::Byte;
  Elementwise data = Prepare(x, dtype, granularity, /*row_major=*/false);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.codes = data.out.mutable_data_ptr();
  edgeqat::quantize(args, TorchPool());
  return data.Finish();
}

Tensor dequantize_cpu(const Tensor& codes, const Tensor& scale, const Tensor& zero_point,
                      std::optional<std::int64_t> axis, std::optional<std::int64_t> group_size) {
  constexpr const char* kOp = "dequantize";
  DequantizeArgs args;
  args.is_signed = CheckCodes(kOp, "codes", codes);
  const Granularity granularity = CheckQParams(kOp, codes, scale, zero_point, axis, group_size);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  CheckScaleValues(kOp, scales);
  CheckZeroPointValues(kOp, zero_points, args.is_signed ? -128 : 0, args.is_signed ? 127 : 255);

  Elementwise data = Prepare(codes, ScalarType::Float, granularity, /*row_major=*/false);
  args.layout = data.layout;
  args.codes = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.y = data.out.mutable_data_ptr<float>();
  edgeqat::dequantize(args, TorchPool());
  return data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("quantize", TORCH_BOX(&quantize_cpu));
  m.impl("dequantize", TORCH_BOX(&dequantize_cpu));
}

}  // namespace edgeqat::torch_ops
