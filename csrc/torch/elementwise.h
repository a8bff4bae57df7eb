// SPDX-License-Identifier: Apache-2.0
// Brings the data of an element-wise operator into the flat view of the kernels, with as few copies
// as possible.
#pragma once

#include <optional>

#include "torch/alloc.h"
#include "torch/check.h"

namespace edgeqat::torch_ops {

// What a kernel reads and writes. `result` is what the operator returns; `out` is where the kernel
// writes, and differs from it only where the kernel needs row-major order and the result has
// another: Finish then copies.
struct Elementwise {
  Tensor x;
  Tensor out;
  Tensor result;
  QuantLayout layout;

  const Tensor& Finish() {
    if (out.get() != result.get()) torch::stable::copy_(result, out);
    return result;
  }
};

inline QuantLayout LayoutOf(std::span<const std::int64_t> sizes, std::int64_t numel,
                            const Granularity& granularity,
                            const std::optional<std::int64_t>& axis) {
  if (!axis.has_value()) return QuantLayout::PerTensor(numel);
  if (!granularity.group_size.has_value()) return QuantLayout::PerChannel(sizes, *axis);
  return QuantLayout::PerGroup(sizes, *axis, *granularity.group_size);
}

// The layout of data that lies in memory in the given order of its dimensions.
inline QuantLayout LayoutInMemory(std::span<const std::int64_t> sizes, std::int64_t numel,
                                  const Granularity& granularity, const MemoryOrder& order) {
  Shape memory_sizes;
  std::optional<std::int64_t> axis;
  for (const std::int64_t dim : order.dims) {
    if (dim == granularity.axis) axis = std::ssize(memory_sizes);
    memory_sizes.push_back(sizes[dim]);
  }
  return LayoutOf(memory_sizes, numel, granularity, axis);
}

// The result is laid out as torch.empty_like(x). A dense x (channels_last for example) is taken in
// memory order as it lies; x with gaps or overlap is copied once. `row_major` asks for row-major
// order (bits are counted in it); groups need it too, because their scales lie in the order of x's
// dimensions.
inline Elementwise Prepare(const Tensor& x, ScalarType dtype, const Granularity& granularity,
                           bool row_major) {
  const MemoryOrder order = OrderOf(x);
  Tensor result = EmptyLike(x, dtype, order);
  const MemoryOrder result_order = order.dense ? order : OrderOf(result);
  const auto sizes = Sizes(x);
  if (result_order.row_major) {
    return {RowMajor(x), result, result, LayoutOf(sizes, x.numel(), granularity, granularity.axis)};
  }
  if (row_major || granularity.group_size.has_value()) {
    return {RowMajor(x), EmptyRowMajor(sizes, dtype, x), result,
            LayoutOf(sizes, x.numel(), granularity, granularity.axis)};
  }
  return {WithStridesOf(x, result), result, result,
          LayoutInMemory(sizes, x.numel(), granularity, result_order)};
}

// A mask in the memory order of the data `like`, which the kernels walk; no bytes without a mask.
class LaidOutMask {
 public:
  LaidOutMask(const std::optional<Tensor>& mask, const Tensor& like) {
    if (mask.has_value()) tensor_ = WithStridesOf(*mask, like);
  }
  [[nodiscard]] const std::uint8_t* data() const {
    if (!tensor_.has_value()) return nullptr;
    return static_cast<const std::uint8_t*>(tensor_->const_data_ptr());
  }

 private:
  std::optional<Tensor> tensor_;
};

// For an operator that only reads, where the order of the elements does not matter.
struct Readable {
  Tensor x;
  QuantLayout layout;
};

inline Readable PrepareReading(const Tensor& x, const Granularity& granularity) {
  MemoryOrder order = OrderOf(x);
  if (order.dense) return {x, LayoutInMemory(Sizes(x), x.numel(), granularity, order)};
  return {RowMajor(x), LayoutOf(Sizes(x), x.numel(), granularity, granularity.axis)};
}

}  // namespace edgeqat::torch_ops
