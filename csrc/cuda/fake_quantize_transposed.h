// SPDX-License-Identifier: Apache-2.0
// fake_quantize_train and its backward on channels_last data, without copies to row-major order.
//
// Bits are counted in row-major order whatever the strides of x. Here memory is [batch, rows,
// columns] and row-major order is [batch, columns, rows]: for channels_last, rows are the pixels
// and columns the channels. A thread still owns a whole byte, that is eight consecutive rows of one
// column; neighbouring threads take neighbouring columns, so that a warp reads consecutive memory.
// Where rows is no multiple of 8, a byte spans two columns and neighbours are 2, 4 or 8 columns
// apart (14 x 14 pixels: 2).
#pragma once

#include <cstdint>
#include <numeric>

#include "cuda/stream.h"
#include "edgeqat/fake_quantize.h"

namespace edgeqat::cuda {

struct TransposedShape {
  std::int64_t batch = 1;
  std::int64_t rows = 1;
  std::int64_t columns = 1;

  // Columns whose bits together fill whole bytes: 8 / gcd(rows, 8).
  [[nodiscard]] std::int64_t columns_per_region() const {
    return 8 / std::gcd(rows, std::int64_t{8});
  }
  // Whether the columns divide into such regions; otherwise a byte would belong to two batches.
  [[nodiscard]] bool is_supported() const { return columns % columns_per_region() == 0; }
};

// As cuda::fake_quantize with bits, for a supported shape: x, mask and y lie in memory as `shape`
// says, while args.layout and the bits follow row-major order.
void fake_quantize_transposed(const FakeQuantizeArgs& args, const TransposedShape& shape,
                              cudaStream_t stream);

// As cuda::fake_quantize_backward: grad and grad_x lie as `shape` says, bits in row-major order.
void fake_quantize_backward_transposed(const FakeQuantizeBackwardArgs& args,
                                       const TransposedShape& shape, cudaStream_t stream);

}  // namespace edgeqat::cuda
