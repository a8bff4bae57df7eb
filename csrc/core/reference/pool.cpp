// SPDX-License-Identifier: Apache-2.0
// Pooling windows over [N, C, spatial...], and mean over any axes. Sums are float64.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "core/graph_schema.h"
#include "core/reference/node_run.h"
#include "core/reference/parallel.h"

namespace edgeqat::reference {
namespace {

// The input range of one output index in one dimension, and how many elements an average divides
// by.
struct Range {
  std::int64_t begin = 0, end = 1, step = 1, divisor = 1;
};

// One spatial dimension: its extent in the input, and a range for every output index.
struct Dimension {
  std::int64_t input = 1;
  std::vector<Range> ranges = {Range{}};
};

struct Windows {
  std::array<Dimension, graph::kMaxSpatial> spatial;  // depth, height, width; 1 where absent
  std::int64_t planes = 1;                            // images times channels
  Shape out_shape;
};

// PyTorch's rule: with ceil_mode the last window must still begin inside the input or the padding
// before it.
std::int64_t OutputExtent(std::int64_t input, std::int64_t before, std::int64_t after,
                          std::int64_t reach, std::int64_t stride, bool ceil_mode) {
  const std::int64_t slack = input + before + after - reach;
  if (slack < 0) return 0;
  std::int64_t output = (slack + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (output - 1) * stride >= input + before) --output;
  return output;
}

std::vector<Range> SlidingRanges(const NodeRun& run, std::int64_t i, std::int64_t spatial) {
  const std::int64_t input = run.ShapeOf(0)[2 + i];
  const std::int64_t kernel = run.Ints("kernel")[i];
  const std::int64_t stride = run.Ints("stride")[i];
  const std::int64_t before = run.Ints("padding")[i];
  const std::int64_t after = run.Ints("padding")[spatial + i];
  const bool average = run.node.op == "avg_pool";
  const std::int64_t step = average ? 1 : run.Ints("dilation")[i];
  const bool padded = average && GetAttribute<bool>(run.node, "count_include_pad");
  const std::int64_t output = OutputExtent(input, before, after, step * (kernel - 1) + 1, stride,
                                           GetAttribute<bool>(run.node, "ceil_mode"));
  run.Expect(output >= 1, "inputs[0]",
             "expected an extent that the kernel fits into, found " + ShapeString(run.ShapeOf(0)));
  std::vector<Range> ranges;
  for (std::int64_t o = 0; o < output; ++o) {
    std::int64_t begin = o * stride - before;
    // Padding that ceil_mode adds beyond `after` is never counted.
    const std::int64_t counted = std::min(begin + kernel, input + after) - begin;
    const std::int64_t end = std::min(begin + step * (kernel - 1) + 1, input);
    if (begin < 0) begin += (-begin + step - 1) / step * step;
    ranges.push_back({begin, end, step, padded ? counted : end - begin});
  }
  return ranges;
}

std::vector<Range> AdaptiveRanges(const NodeRun& run, std::int64_t i) {
  const std::int64_t input = run.ShapeOf(0)[2 + i];
  const std::int64_t output = run.Ints("output_size")[i];
  run.Expect(input >= 1, "inputs[0]",
             "expected extents >= 1, found " + ShapeString(run.ShapeOf(0)));
  std::vector<Range> ranges;
  for (std::int64_t o = 0; o < output; ++o) {
    const std::int64_t begin = o * input / output;
    const std::int64_t end = ((o + 1) * input + output - 1) / output;
    ranges.push_back({begin, end, 1, end - begin});
  }
  return ranges;
}

Windows MakeWindows(const NodeRun& run) {
  const Shape& shape = run.ShapeOf(0);
  const auto spatial = static_cast<std::int64_t>(shape.size()) - 2;
  Windows windows;
  windows.planes = shape[0] * shape[1];
  windows.out_shape = {shape[0], shape[1]};
  for (std::int64_t i = 0; i < spatial; ++i) {
    Dimension& dimension = windows.spatial[graph::kMaxSpatial - spatial + i];
    dimension.input = shape[2 + i];
    dimension.ranges = run.node.op == "adaptive_avg_pool" ? AdaptiveRanges(run, i)
                                                          : SlidingRanges(run, i, spatial);
    windows.out_shape.push_back(std::ssize(dimension.ranges));
  }
  return windows;
}

// out = done(fold over the window of (accumulator, value), divisor) for every window.
template <typename T, typename Acc, typename Out, typename Fold, typename Done>
void ForEachWindow(int threads, const Windows& windows, const T* in, Out* out, Acc start,
                   const Fold& fold, const Done& done) {
  const auto& [depth, height, width] = windows.spatial;
  const std::int64_t plane = depth.input * height.input * width.input;
  const std::int64_t out_plane =
      std::ssize(depth.ranges) * std::ssize(height.ranges) * std::ssize(width.ranges);
  ParallelFor(threads, windows.planes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const T* from = in + p * plane;
      Out* to = out + p * out_plane;
      for (const Range& slice : depth.ranges) {
        for (const Range& row : height.ranges) {
          for (const Range& column : width.ranges) {
            Acc acc = start;
            for (std::int64_t z = slice.begin; z < slice.end; z += slice.step) {
              for (std::int64_t y = row.begin; y < row.end; y += row.step) {
                const T* line = from + (z * height.input + y) * width.input;
                for (std::int64_t x = column.begin; x < column.end; x += column.step) {
                  acc = fold(acc, line[x]);
                }
              }
            }
            *to++ = done(acc, slice.divisor * row.divisor * column.divisor);
          }
        }
      }
    }
  });
}

template <typename T>
Tensor MaxOfCodes(const NodeRun& run, const Windows& windows) {
  Tensor out = Tensor::Zeros(run.output_dtype, windows.out_shape);
  ForEachWindow(
      run.options.threads, windows, run.inputs[0].tensor->Span<T>().data(),
      out.MutableSpan<T>().data(), std::numeric_limits<T>::lowest(),
      [](T a, T b) { return std::max(a, b); }, [](T acc, std::int64_t) { return acc; });
  return out;
}

}  // namespace

Tensor RunMaxPool(const NodeRun& run) {
  const Windows windows = MakeWindows(run);
  if (run.output != nullptr && run.MovesCodes(0)) {
    return run.output_dtype == DType::kInt8 ? MaxOfCodes<std::int8_t>(run, windows)
                                            : MaxOfCodes<std::uint8_t>(run, windows);
  }
  const Floats x(run.inputs[0]);
  std::vector<float> out(static_cast<std::size_t>(NumElements(windows.out_shape)));
  ForEachWindow(
      run.options.threads, windows, x.data(), out.data(), -std::numeric_limits<float>::infinity(),
      [](float a, float b) { return b > a || b != b ? b : a; },  // NaN wins, as in PyTorch
      [](float acc, std::int64_t) { return acc; });
  return run.Finish(std::move(out), windows.out_shape);
}

Tensor RunAvgPool(const NodeRun& run) {
  const Windows windows = MakeWindows(run);
  const Floats x(run.inputs[0]);
  std::vector<float> out(static_cast<std::size_t>(NumElements(windows.out_shape)));
  ForEachWindow(
      run.options.threads, windows, x.data(), out.data(), 0.0,
      [](double a, float b) { return a + b; },
      [](double acc, std::int64_t divisor) {
        return static_cast<float>(acc / static_cast<double>(divisor));
      });
  return run.Finish(std::move(out), windows.out_shape);
}

Tensor RunMean(const NodeRun& run) {
  const Shape& shape = run.ShapeOf(0);
  const Shape& axes = run.Ints("axes");
  const bool keepdim = GetAttribute<bool>(run.node, "keepdim");
  Shape out_shape;
  std::vector<std::int64_t> steps(shape.size(), 0);  // in the output, 0 along the axes of the mean
  std::int64_t divisor = 1;
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (std::ranges::find(axes, static_cast<std::int64_t>(i)) != axes.end()) {
      divisor *= shape[i];
      if (keepdim) out_shape.insert(out_shape.begin(), 1);
      continue;
    }
    steps[i] = step;
    step *= shape[i];
    out_shape.insert(out_shape.begin(), shape[i]);
  }
  run.Expect(divisor >= 1, "inputs[0]",
             "expected at least one element to average, found " + ShapeString(shape));
  const Floats x(run.inputs[0]);
  std::vector<double> sums(static_cast<std::size_t>(NumElements(out_shape)), 0.0);
  std::vector<std::int64_t> index(shape.size(), 0);
  std::int64_t at = 0;
  for (const float value : x.view()) {
    sums[at] += value;
    for (std::size_t i = shape.size(); i-- > 0;) {
      at += steps[i];
      if (++index[i] < shape[i]) break;
      at -= steps[i] * shape[i];
      index[i] = 0;
    }
  }
  std::vector<float> out(sums.size());
  std::ranges::transform(sums, out.begin(), [divisor](double sum) {
    return static_cast<float>(sum / static_cast<double>(divisor));
  });
  return run.Finish(std::move(out), out_shape);
}

}  // namespace edgeqat::reference
