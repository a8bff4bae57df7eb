// SPDX-License-Identifier: Apache-2.0
// fake_quantize, fake_quantize_train and fake_quantize_backward on the CPU.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cpu/transpose_bits.h"
#include "edgeqat/fake_quantize.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cpu/host.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {
namespace {

Tensor EmptyBits(const Tensor& x) {
  const std::int64_t bytes = (x.numel() + 7) / 8;
  return EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
}

// Both forms: `bits` is the tensor to fill, or absent.
Tensor Run(const char* op, const Tensor& x, const Tensor& scale, const Tensor& zero_point,
           std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
           std::optional<std::int64_t> group_size, const std::optional<Tensor>& mask,
           std::int64_t activation, std::optional<Tensor> bits) {
  FakeQuantizeArgs args;
  args.dtype = CheckFloat(op, "x", x);
  args.activation = CheckActivation(op, activation);
  CheckRange(op, qmin, qmax);
  const Granularity granularity = CheckQParams(op, x, scale, zero_point, axis, group_size);
  CheckMask(op, mask, x);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  CheckScaleValues(op, scales);
  CheckZeroPointValues(op, zero_points, qmin, qmax);

  // bits are counted in row-major order: a channels_last x is still taken as it lies, and its bits
  // are transposed
  std::optional<Transposed> transposed;
  if (bits.has_value() && !granularity.group_size.has_value()) {
    transposed = TransposedOf(Sizes(x), OrderOf(x));
  }
  const std::optional<Tensor> kernel_bits =
      transposed.has_value() ? std::optional(EmptyBits(x)) : bits;
  const bool row_major = bits.has_value() && !transposed.has_value();
  Elementwise data = Prepare(x, x.scalar_type(), granularity, row_major);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.mask = laid_out.data();
  args.y = data.out.mutable_data_ptr();
  if (bits.has_value()) args.bits = kernel_bits->mutable_data_ptr<std::uint8_t>();
  edgeqat::fake_quantize(args, TorchPool());
  if (transposed.has_value()) {
    cpu::transpose_bits(transposed->batch, transposed->rows, transposed->columns, args.bits,
                        bits->mutable_data_ptr<std::uint8_t>(), TorchPool());
  }
  return data.Finish();
}

}  // namespace

Tensor fake_quantize_cpu(const Tensor& x, const Tensor& scale, const Tensor& zero_point,
                         std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
                         std::optional<std::int64_t> group_size, const std::optional<Tensor>& mask,
                         std::int64_t activation) {
  return Run("fake_quantize", x, scale, zero_point, qmin, qmax, axis, group_size, mask, activation,
             std::nullopt);
}

std::tuple<Tensor, Tensor> fake_quantize_train_cpu(
    const Tensor& x, const Tensor& scale, const Tensor& zero_point, std::int64_t qmin,
    std::int64_t qmax, std::optional<std::int64_t> axis, std::optional<std::int64_t> group_size,
    const std::optional<Tensor>& mask, std::int64_t activation) {
  Tensor bits = EmptyBits(x);
  Tensor y = Run("fake_quantize_train", x, scale, zero_point, qmin, qmax, axis, group_size, mask,
                 activation, bits);
  return {y, bits};
}

Tensor fake_quantize_backward_cpu(const Tensor& grad, const Tensor& bits,
                                  const std::optional<Tensor>& x, std::int64_t activation) {
  constexpr const char* kOp = "fake_quantize_backward";
  FakeQuantizeBackwardArgs args;
  args.dtype = CheckFloat(kOp, "grad", grad);
  args.numel = grad.numel();
  CheckDtype(kOp, "bits", bits, ScalarType::Byte);
  CheckDevice(kOp, "bits", bits, grad);
  const std::int64_t bytes = (args.numel + 7) / 8;
  CheckShape(kOp, "bits", bits, {&bytes, 1}, "Pass the bits of fake_quantize_train on the same x.");
  args.activation = CheckBackwardActivation(activation, x, grad);
  const std::optional<Transposed> transposed = TransposedOf(Sizes(grad), OrderOf(grad));
  Elementwise data = Prepare(grad, grad.scalar_type(), {}, /*row_major=*/!transposed.has_value());
  Tensor packed = RowMajor(bits);
  if (transposed.has_value()) {
    Tensor in_memory_order = EmptyBits(grad);
    cpu::transpose_bits(transposed->batch, transposed->columns, transposed->rows,
                        packed.const_data_ptr<std::uint8_t>(),
                        in_memory_order.mutable_data_ptr<std::uint8_t>(), TorchPool());
    packed = in_memory_order;
  }
  const std::optional<Tensor> laid_out = args.activation == ActivationKind::kHardswish
                                             ? std::optional(WithStridesOf(*x, data.x))
                                             : std::nullopt;
  if (laid_out.has_value()) args.x = laid_out->const_data_ptr();
  args.grad = data.x.const_data_ptr();
  args.bits = packed.const_data_ptr<std::uint8_t>();
  args.grad_x = data.out.mutable_data_ptr();
  edgeqat::fake_quantize_backward(args, TorchPool());
  return data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CPU, m) {
  m.impl("fake_quantize", TORCH_BOX(&fake_quantize_cpu));
  m.impl("fake_quantize_train", TORCH_BOX(&fake_quantize_train_cpu));
  m.impl("fake_quantize_backward", TORCH_BOX(&fake_quantize_backward_cpu));
}

}  // namespace edgeqat::torch_ops
