// SPDX-License-Identifier: Apache-2.0
// fake_quantize, fake_quantize_train and fake_quantize_backward on CUDA.
#include <torch/csrc/stable/library.h>

#include <optional>
#include <tuple>

#include "cuda/fake_quantize.h"
#include "cuda/fake_quantize_transposed.h"
#include "torch/alloc.h"
#include "torch/check.h"
#include "torch/cuda/device.h"
#include "torch/elementwise.h"

namespace edgeqat::torch_ops {
namespace {

// Where bits, which follow row-major order, meet data that do not (channels_last): the shape for
// the kernels that read memory order all the same. Absent where they do not apply; a copy then does
// it.
std::optional<cuda::TransposedShape> TransposedKernelShape(const Tensor& data) {
  const auto found = TransposedOf(Sizes(data), OrderOf(data));
  if (!found.has_value()) return std::nullopt;
  const cuda::TransposedShape shape{found->batch, found->rows, found->columns};
  return shape.is_supported() ? std::optional(shape) : std::nullopt;
}

// Data in memory order with the scales' layout in row-major order, which is the order of the bits.
Elementwise PrepareAsItLies(const Tensor& data, const Granularity& granularity) {
  const Tensor result = EmptyLike(data, data.scalar_type(), OrderOf(data));
  return {data, result, result, LayoutOf(Sizes(data), data.numel(), granularity, granularity.axis)};
}

// Both forms: `bits` is the tensor to fill, or absent.
Tensor Run(const char* op, const Tensor& x, const Tensor& scale, const Tensor& zero_point,
           std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
           std::optional<std::int64_t> group_size, const std::optional<Tensor>& mask,
           std::int64_t activation, Tensor* bits) {
  FakeQuantizeArgs args;
  args.dtype = CheckFloat(op, "x", x);
  args.activation = CheckActivation(op, activation);
  CheckRange(op, qmin, qmax);
  const Granularity granularity = CheckQParams(op, x, scale, zero_point, axis, group_size);
  CheckMask(op, mask, x);

  const CudaScope scope(x);
  const Tensor scales = RowMajor(scale);
  const Tensor zero_points = RowMajor(zero_point);
  if (bits != nullptr) {
    const std::int64_t bytes = (x.numel() + 7) / 8;
    *bits = EmptyRowMajor({&bytes, 1}, ScalarType::Byte, x);
    args.bits = bits->mutable_data_ptr<std::uint8_t>();
  }
  const auto transposed = bits != nullptr ? TransposedKernelShape(x) : std::nullopt;
  Elementwise data = transposed.has_value()
                         ? PrepareAsItLies(x, granularity)
                         : Prepare(x, x.scalar_type(), granularity, /*row_major=*/bits != nullptr);
  const LaidOutMask laid_out(mask, data.out);
  args.layout = data.layout;
  args.x = data.x.const_data_ptr();
  args.scale = scales.const_data_ptr<float>();
  args.zero_point = zero_points.const_data_ptr<std::int32_t>();
  args.qmin = static_cast<std::int32_t>(qmin);
  args.qmax = static_cast<std::int32_t>(qmax);
  args.mask = laid_out.data();
  args.y = data.out.mutable_data_ptr();
  if (transposed.has_value()) {
    cuda::fake_quantize_transposed(args, *transposed, scope.stream());
  } else {
    cuda::fake_quantize(args, scope.stream());
  }
  scope.CheckLaunch();
  return data.Finish();
}

}  // namespace

Tensor fake_quantize_cuda(const Tensor& x, const Tensor& scale, const Tensor& zero_point,
                          std::int64_t qmin, std::int64_t qmax, std::optional<std::int64_t> axis,
                          std::optional<std::int64_t> group_size, const std::optional<Tensor>& mask,
                          std::int64_t activation) {
  return Run("fake_quantize", x, scale, zero_point, qmin, qmax, axis, group_size, mask, activation,
             nullptr);
}

std::tuple<Tensor, Tensor> fake_quantize_train_cuda(
    const Tensor& x, const Tensor& scale, const Tensor& zero_point, std::int64_t qmin,
    std::int64_t qmax, std::optional<std::int64_t> axis, std::optional<std::int64_t> group_size,
    const std::optional<Tensor>& mask, std::int64_t activation) {
  Tensor bits;
  Tensor y = Run("fake_quantize_train", x, scale, zero_point, qmin, qmax, axis, group_size, mask,
                 activation, &bits);
  return {y, bits};
}

Tensor fake_quantize_backward_cuda(const Tensor& grad, const Tensor& bits,
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

  const CudaScope scope(grad);
  const auto transposed = TransposedKernelShape(grad);
  Elementwise data = transposed.has_value()
                         ? PrepareAsItLies(grad, {})
                         : Prepare(grad, grad.scalar_type(), {}, /*row_major=*/true);
  const Tensor packed = RowMajor(bits);
  const std::optional<Tensor> laid_out = args.activation == ActivationKind::kHardswish
                                             ? std::optional(WithStridesOf(*x, data.x))
                                             : std::nullopt;
  if (laid_out.has_value()) args.x = laid_out->const_data_ptr();
  args.grad = data.x.const_data_ptr();
  args.bits = packed.const_data_ptr<std::uint8_t>();
  args.grad_x = data.out.mutable_data_ptr();
  if (transposed.has_value()) {
    cuda::fake_quantize_backward_transposed(args, *transposed, scope.stream());
  } else {
    cuda::fake_quantize_backward(args, scope.stream());
  }
  scope.CheckLaunch();
  return data.Finish();
}

STABLE_TORCH_LIBRARY_IMPL(edgeqat, CUDA, m) {
  m.impl("fake_quantize", TORCH_BOX(&fake_quantize_cuda));
  m.impl("fake_quantize_train", TORCH_BOX(&fake_quantize_train_cuda));
  m.impl("fake_quantize_backward", TORCH_BOX(&fake_quantize_backward_cuda));
}

}  // namespace edgeqat::torch_ops
