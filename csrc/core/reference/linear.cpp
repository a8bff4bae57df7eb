// SPDX-License-Identifier: Apache-2.0
// linear (x [..., K] with weight [N, K]), matmul (broadcast batches of [M, K] with [K, N]) and
// embedding (rows of a [V, D] table).
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "core/reference/gemm.h"
#include "core/reference/node_run.h"
#include "core/reference/parallel.h"
#include "edgeqat/error.h"

namespace edgeqat::reference {
namespace {

// `count` rows of codes minus zero point, multiplied with all weight rows; row i of the output
// starts at out_offset + i * weights.rows.
template <typename X>
void MultiplyRows(const X* codes, std::int32_t zero, std::int64_t count, const IntRows& weights,
                  const OutputStage& stage, Tensor& out, std::int64_t out_offset) {
  std::vector<std::int16_t> patches(static_cast<std::size_t>(kTile * weights.stride));
  std::vector<std::int32_t> acc(static_cast<std::size_t>((weights.rows + 3) * kTile));
  for (std::int64_t begin = 0; begin < count; begin += kTile) {
    const std::int64_t tile = std::min(kTile, count - begin);
    for (std::int64_t p = 0; p < tile; ++p) {
      for (std::int64_t k = 0; k < weights.columns; ++k) {
        patches[p * weights.stride + k] =
            static_cast<std::int16_t>(codes[(begin + p) * weights.columns + k] - zero);
      }
    }
    MultiplyTile(patches.data(), tile, weights, 0, weights.rows, acc.data());
    for (std::int64_t r = 0; r < weights.rows; ++r) {
      stage.Apply(r, acc.data() + r * kTile, tile, out, out_offset + begin * weights.rows + r,
                  weights.rows);
    }
  }
}

template <typename X, typename W>
Tensor LinearInteger(const NodeRun& run, std::int64_t count, const Shape& out_shape) {
  const Codes& x = *run.inputs[0].codes;
  const Codes& w = *run.inputs[1].codes;
  const std::int64_t columns = run.ShapeOf(1)[1];
  IntRows weights(run.ShapeOf(1)[0], columns);
  FillRows(weights, run.inputs[1].tensor->Span<W>().data(), w.zero_point,
           [columns](std::int64_t r, std::int64_t k) { return r * columns + k; });
  const OutputStage stage(run, x, w, weights.magnitude);
  Tensor out = Tensor::Zeros(run.output_dtype, out_shape);
  const X* codes = run.inputs[0].tensor->Span<X>().data();
  ParallelFor(
      run.options.threads, (count + kTile - 1) / kTile, [&](std::int64_t begin, std::int64_t end) {
        const std::int64_t first = begin * kTile;
        MultiplyRows(codes + first * columns, x.zero_point[0], std::min(count, end * kTile) - first,
                     weights, stage, out, first * weights.rows);
      });
  return out;
}

Tensor LinearFloat(const NodeRun& run, std::int64_t count, const Shape& out_shape) {
  const std::int64_t rows = run.ShapeOf(1)[0];
  const std::int64_t columns = run.ShapeOf(1)[1];
  const Floats x(run.inputs[0]);
  const Floats w(run.inputs[1]);
  std::vector<double> weights(static_cast<std::size_t>(rows * columns));
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) weights[k * rows + r] = w[r * columns + k];
  }
  const std::vector<double> bias = run.FloatBias(rows);
  std::vector<float> out(static_cast<std::size_t>(count * rows));
  ParallelFor(run.options.threads, count, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> acc(static_cast<std::size_t>(rows));
    for (std::int64_t i = begin; i < end; ++i) {
      std::ranges::copy(bias, acc.begin());
      MultiplyFloat(x.data() + i * columns, 1, weights.data(), columns, rows, acc.data());
      for (std::int64_t r = 0; r < rows; ++r) out[i * rows + r] = static_cast<float>(acc[r]);
    }
  });
  return run.Finish(std::move(out), out_shape);
}

// The batches of a matmul: which matrix of each operand belongs to each matrix of the output.
struct Batches {
  Shape out_shape;
  std::vector<std::int64_t> left, right;
};

Batches MatchBatches(const NodeRun& run) {
  const Shape& a = run.ShapeOf(0);
  const Shape& b = run.ShapeOf(1);
  const std::size_t rank = std::max(a.size(), b.size()) - 2;
  const auto extent = [rank](const Shape& shape, std::size_t i) {  // of batch dimension i
    const std::size_t missing = rank - (shape.size() - 2);
    return i < missing ? 1 : shape[i - missing];
  };
  Batches batches;
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t l = extent(a, i);
    const std::int64_t r = extent(b, i);
    run.Expect(
        l == r || l == 1 || r == 1, "inputs",
        "expected batches that broadcast, found " + ShapeString(a) + " and " + ShapeString(b));
    batches.out_shape.push_back(l == 1 ? r : l);
  }
  const std::int64_t count = NumElements(batches.out_shape);
  for (std::int64_t n = 0; n < count; ++n) {
    std::int64_t left = 0, right = 0, left_step = 1, right_step = 1, rest = n;
    for (std::size_t i = rank; i-- > 0;) {
      const std::int64_t index = rest % batches.out_shape[i];
      rest /= batches.out_shape[i];
      if (extent(a, i) != 1) left += index * left_step;
      if (extent(b, i) != 1) right += index * right_step;
      left_step *= extent(a, i);
      right_step *= extent(b, i);
    }
    batches.left.push_back(left);
    batches.right.push_back(right);
  }
  batches.out_shape.push_back(a[a.size() - 2]);
  batches.out_shape.push_back(b.back());
  return batches;
}

template <typename X, typename W>
Tensor MatmulInteger(const NodeRun& run, const Batches& batches) {
  const Codes& x = *run.inputs[0].codes;
  const Codes& w = *run.inputs[1].codes;
  const Shape& right_shape = run.ShapeOf(1);
  const std::int64_t columns = right_shape[right_shape.size() - 2];
  const std::int64_t rows = right_shape.back();
  const std::int64_t count = batches.out_shape[batches.out_shape.size() - 2];
  // Before a run nothing is known of a computed operand but its range.
  std::int64_t largest = 0;
  for (const std::int32_t zero : w.zero_point) {
    largest = std::max<std::int64_t>(largest, std::max(w.qmax - zero, zero - w.qmin));
  }
  std::vector<std::int64_t> magnitude(static_cast<std::size_t>(rows), columns * largest);
  const W* right = run.inputs[1].tensor->Span<W>().data();
  if (run.inputs[1].constant) {
    std::ranges::fill(magnitude, 0);
    const std::int64_t matrices =
        run.inputs[1].tensor->NumElements() / std::max<std::int64_t>(rows * columns, 1);
    for (std::int64_t m = 0; m < matrices; ++m) {
      IntRows weights(rows, columns);
      FillRows(weights, right + m * rows * columns, w.zero_point,
               [rows](std::int64_t r, std::int64_t k) { return k * rows + r; });
      for (std::int64_t r = 0; r < rows; ++r)
        magnitude[r] = std::max(magnitude[r], weights.magnitude[r]);
    }
  }
  const OutputStage stage(run, x, w, magnitude);
  Tensor out = Tensor::Zeros(run.output_dtype, batches.out_shape);
  const X* left = run.inputs[0].tensor->Span<X>().data();
  ParallelFor(run.options.threads, std::ssize(batches.left),
              [&](std::int64_t begin, std::int64_t end) {
                IntRows weights(rows, columns);
                for (std::int64_t n = begin; n < end; ++n) {
                  FillRows(weights, right + batches.right[n] * rows * columns, w.zero_point,
                           [rows](std::int64_t r, std::int64_t k) { return k * rows + r; });
                  MultiplyRows(left + batches.left[n] * count * columns, x.zero_point[0], count,
                               weights, stage, out, n * count * rows);
                }
              });
  return out;
}

Tensor MatmulFloat(const NodeRun& run, const Batches& batches) {
  const Floats left(run.inputs[0]);
  const Floats right(run.inputs[1]);
  const std::vector<double> weights(right.view().begin(), right.view().end());
  const Shape& right_shape = run.ShapeOf(1);
  const std::int64_t columns = right_shape[right_shape.size() - 2];
  const std::int64_t rows = right_shape.back();
  const std::int64_t count = batches.out_shape[batches.out_shape.size() - 2];
  std::vector<float> out(static_cast<std::size_t>(NumElements(batches.out_shape)));
  ParallelFor(run.options.threads, std::ssize(batches.left),
              [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t n = begin; n < end; ++n) {
                  std::vector<double> acc(static_cast<std::size_t>(count * rows), 0.0);
                  MultiplyFloat(left.data() + batches.left[n] * count * columns, count,
                                weights.data() + batches.right[n] * rows * columns, columns, rows,
                                acc.data());
                  std::ranges::transform(acc, out.begin() + n * count * rows,
                                         [](double v) { return static_cast<float>(v); });
                }
              });
  return run.Finish(std::move(out), batches.out_shape);
}

// One scale for x and the output, and for w one or one per output channel (`axis`).
bool IsInteger(const NodeRun& run, std::int64_t axis) {
  const Codes* x = run.inputs[0].codes;
  const Codes* w = run.inputs[1].codes;
  if (x == nullptr || w == nullptr || !x->PerTensor()) return false;
  if (run.output != nullptr && !run.output->PerTensor()) return false;
  return w->PerTensor() || (!w->grouped && w->axis == axis);
}

// Calls body with int8_t or uint8_t values for the two operands' code types.
template <typename Body>
Tensor WithCodeTypes(const NodeRun& run, const Body& body) {
  const bool signed_x = run.inputs[0].codes->dtype == DType::kInt8;
  const bool signed_w = run.inputs[1].codes->dtype == DType::kInt8;
  if (signed_x)
    return signed_w ? body(std::int8_t{}, std::int8_t{}) : body(std::int8_t{}, std::uint8_t{});
  return signed_w ? body(std::uint8_t{}, std::int8_t{}) : body(std::uint8_t{}, std::uint8_t{});
}

template <typename Index>
Tensor Gather(const NodeRun& run, const Shape& out_shape) {
  const auto indices = run.inputs[0].tensor->Span<Index>();
  const Tensor& table = *run.inputs[1].tensor;
  const std::int64_t entries = table.shape[0];
  const std::int64_t width = table.shape[1];
  for (const Index index : indices) {
    if (index < 0 || index >= entries) {
      run.Fail(ErrorCode::kOutOfRange, "inputs[0]",
               "expected indices from 0 to " + std::to_string(entries - 1) + ", found " +
                   std::to_string(index));
    }
  }
  if (run.MovesCodes(1)) {
    Tensor out = Tensor::Zeros(table.dtype, out_shape);
    const std::int64_t bytes = width * static_cast<std::int64_t>(SizeOf(table.dtype));
    for (std::int64_t i = 0; i < std::ssize(indices); ++i) {
      std::copy_n(table.data.begin() + indices[i] * bytes, bytes, out.data.begin() + i * bytes);
    }
    return out;
  }
  const Floats values(run.inputs[1]);
  std::vector<float> out(static_cast<std::size_t>(NumElements(out_shape)));
  for (std::int64_t i = 0; i < std::ssize(indices); ++i) {
    std::copy_n(values.data() + indices[i] * width, width, out.begin() + i * width);
  }
  return run.Finish(std::move(out), out_shape);
}

}  // namespace

Tensor RunLinear(const NodeRun& run) {
  Shape out_shape = run.ShapeOf(0);
  const Shape& w = run.ShapeOf(1);
  run.Expect(out_shape.back() == w[1], "inputs[1]",
             "expected a weight of " + std::to_string(out_shape.back()) + " columns, found " +
                 ShapeString(w));
  out_shape.back() = w[0];
  const std::int64_t count = NumElements(std::span(out_shape).first(out_shape.size() - 1));
  if (!IsInteger(run, 0)) return LinearFloat(run, count, out_shape);
  return WithCodeTypes(run, [&]<typename X, typename W>(X, W) {
    return LinearInteger<X, W>(run, count, out_shape);
  });
}

Tensor RunMatmul(const NodeRun& run) {
  const Shape& b = run.ShapeOf(1);
  run.Expect(run.ShapeOf(0).back() == b[b.size() - 2], "inputs",
             "expected [.., M, K] and [.., K, N], found " + ShapeString(run.ShapeOf(0)) + " and " +
                 ShapeString(b));
  const Batches batches = MatchBatches(run);
  if (!IsInteger(run, std::ssize(b) - 1)) return MatmulFloat(run, batches);
  return WithCodeTypes(
      run, [&]<typename X, typename W>(X, W) { return MatmulInteger<X, W>(run, batches); });
}

Tensor RunEmbedding(const NodeRun& run) {
  Shape out_shape = run.ShapeOf(0);
  out_shape.push_back(run.ShapeOf(1)[1]);
  if (run.inputs[0].tensor->dtype == DType::kInt32) return Gather<std::int32_t>(run, out_shape);
  return Gather<std::int64_t>(run, out_shape);
}

}  // namespace edgeqat::reference
