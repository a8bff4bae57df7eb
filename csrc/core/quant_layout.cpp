// SPDX-License-Identifier: Apache-2.0
// Builds the [outer, channels, rows, width] view of a tensor for each granularity.
#include "edgeqat/quant_layout.h"

#include <string>

#include "edgeqat/error.h"

namespace edgeqat {
namespace {

std::int64_t Product(std::span<const std::int64_t> shape) {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) product *= size;
  return product;
}

void CheckAxis(std::span<const std::int64_t> shape, std::int64_t axis) {
  if (axis >= 0 && axis < std::ssize(shape)) return;
  throw Error(ErrorCode::kOutOfRange, "QuantLayout: axis must be in [0, " +
                                          std::to_string(shape.size()) + "), found " +
                                          std::to_string(axis) + ". Pass an axis of the tensor.");
}

}  // namespace

QuantLayout QuantLayout::PerTensor(std::int64_t numel) {
  return {.outer = 1, .channels = 1, .rows = numel, .width = 1};
}

QuantLayout QuantLayout::PerChannel(std::span<const std::int64_t> shape, std::int64_t axis) {
  CheckAxis(shape, axis);
  const std::int64_t outer = Product(shape.first(axis));
  const std::int64_t inner = Product(shape.subspan(axis + 1));
  if (inner == 1) return {.outer = 1, .channels = 1, .rows = outer, .width = shape[axis]};
  return {.outer = outer, .channels = shape[axis], .rows = inner, .width = 1};
}

QuantLayout QuantLayout::PerGroup(std::span<const std::int64_t> shape, std::int64_t axis,
                                  std::int64_t group_size) {
  CheckAxis(shape, axis);
  if (group_size < 1 || shape[axis] % group_size != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "QuantLayout: group_size must divide the size " + std::to_string(shape[axis]) +
                    " of axis " + std::to_string(axis) + ", found " + std::to_string(group_size) +
                    ". Pad the axis or choose a divisor.");
  }
  const std::int64_t groups = Product(shape.first(axis)) * (shape[axis] / group_size);
  return {.outer = 1,
          .channels = groups,
          .rows = group_size,
          .width = Product(shape.subspan(axis + 1))};
}

}  // namespace edgeqat
