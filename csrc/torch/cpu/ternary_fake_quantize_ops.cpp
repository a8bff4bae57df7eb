// SPDX-License-Identifier: Apache-2.0
// ternary_fake_quantize on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "edgeqat/ternary_fake_quantize.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {

std::tuple<Tensor, Tensor> ternary_fake_quantize_cpu(const Tensor& x,
                                                     std::optional<std::int64_t> axis,
                                                     std::optional<std::int64_t> group_size,
                                                     const std::optional<Tensor>& mask) {
  constexpr const char* kOp = "ternary_fake_quantize";
  TernaryFakeQuantizeArgs args;
  args.dtype = CheckFloat(kOp, "x", x);
  const Granularity granularity = CheckGranularity(kOp, x, axis, group_size);
  CheckMask(kOp, mask, x);

  Tensor scale = EmptyRowMajor(ScaleShape(x, granularity), ScalarType::Float, x);
  // the order of the sums is that of x's dimensions, whatever its strides
  Elementwise data = Prepare(x, x.scalar_type(), granularity, /*row_major=*/true);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.mask = laid_out.data();
  args.y = data.out.mutable_data_ptr();
  args.scale = scale.mutable_data_ptr<float>();
  edgeqat::ternary_fake_quantize(args, TorchPool());
  return {data.Finish(), scale};
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("ternary_fake_quantize", TORCH_BOX(&ternary_fake_quantize_cpu));
}

}  // namespace edgeqat::torch_ops
