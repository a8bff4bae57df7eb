// SPDX-License-Identifier: Apache-2.0
// softmax and layer_norm: statistics in float64, results rounded once to float32.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/reference/node_run.h"
#include "core/reference/parallel.h"

namespace edgeqat::reference {

// exp(x - max) / sum exp(x - max) along the axis.
Tensor RunSoftmax(const NodeRun& run) {
  const Shape& shape = run.ShapeOf(0);
  const auto axis = static_cast<std::size_t>(run.Int("axis"));
  const std::int64_t extent = shape[axis];
  const std::int64_t inner = NumElements(std::span(shape).subspan(axis + 1));
  const std::int64_t outer = NumElements(std::span(shape).first(axis));
  const Floats x(run.inputs[0]);
  std::vector<float> out(x.view().size());
  if (out.empty()) return run.Finish(std::move(out), shape);
  ParallelFor(run.options.threads, outer, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> terms(static_cast<std::size_t>(extent));
    for (std::int64_t row = begin * inner; row < end * inner; ++row) {
      const std::int64_t first = row / inner * extent * inner + row % inner;
      double largest = x[first];
      for (std::int64_t k = 1; k < extent; ++k)
        largest = std::max<double>(largest, x[first + k * inner]);
      double sum = 0.0;
      for (std::int64_t k = 0; k < extent; ++k)
        sum += terms[k] = std::exp(x[first + k * inner] - largest);
      for (std::int64_t k = 0; k < extent; ++k) {
        out[first + k * inner] = static_cast<float>(terms[k] / sum);
      }
    }
  });
  return run.Finish(std::move(out), shape);
}

// (x - mean) / sqrt(variance + eps) * weight + bias over the last axes_count axes, biased variance.
Tensor RunLayerNorm(const NodeRun& run) {
  const Shape& shape = run.ShapeOf(0);
  const auto count = static_cast<std::size_t>(run.Int("axes_count"));
  const Shape normalized(shape.end() - static_cast<std::ptrdiff_t>(count), shape.end());
  const std::int64_t width = NumElements(normalized);
  const double eps = GetAttribute<double>(run.node, "eps");
  std::vector<double> weight(static_cast<std::size_t>(width), 1.0);
  std::vector<double> bias(static_cast<std::size_t>(width), 0.0);
  for (const std::size_t i : {1, 2}) {
    if (!run.Has(i)) continue;
    run.Expect(
        run.ShapeOf(i) == normalized, "inputs[" + std::to_string(i) + "]",
        "expected shape " + ShapeString(normalized) + ", found " + ShapeString(run.ShapeOf(i)));
    const Floats values(run.inputs[i]);
    std::ranges::copy(values.view(), i == 1 ? weight.begin() : bias.begin());
  }
  const Floats x(run.inputs[0]);
  std::vector<float> out(x.view().size());
  if (out.empty()) return run.Finish(std::move(out), shape);
  ParallelFor(
      run.options.threads, std::ssize(out) / width, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin * width; row < end * width; row += width) {
          double mean = 0.0;
          for (std::int64_t k = 0; k < width; ++k) mean += x[row + k];
          mean /= static_cast<double>(width);
          double variance = 0.0;
          for (std::int64_t k = 0; k < width; ++k)
            variance += (x[row + k] - mean) * (x[row + k] - mean);
          const double scale = 1.0 / std::sqrt(variance / static_cast<double>(width) + eps);
          for (std::int64_t k = 0; k < width; ++k) {
            out[row + k] = static_cast<float>((x[row + k] - mean) * scale * weight[k] + bias[k]);
          }
        }
      });
  return run.Finish(std::move(out), shape);
}

}  // namespace edgeqat::reference
