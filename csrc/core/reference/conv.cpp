// SPDX-License-Identifier: Apache-2.0
// conv and conv_transpose in one to three dimensions: patches of a channels-last copy of the image
// times weight rows. Transposed convolution differs only in which input pixel a tap reads.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "core/graph_schema.h"
#include "core/reference/gemm.h"
#include "core/reference/node_run.h"
#include "core/reference/parallel.h"
#include "edgeqat/error.h"

namespace edgeqat::reference {
namespace {

// One spatial dimension. source[o * kernel + k]: the input index that tap k of output o reads, or
// -1.
struct Window {
  std::int64_t input = 1, output = 1, kernel = 1;
  std::vector<std::int64_t> source = {0};
};

struct Geometry {
  std::int64_t batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  std::array<Window, graph::kMaxSpatial> windows;  // depth, height, width; 1 where absent
  Shape out_shape;

  [[nodiscard]] std::int64_t InPixels() const { return Product(&Window::input); }
  [[nodiscard]] std::int64_t OutPixels() const { return Product(&Window::output); }
  [[nodiscard]] std::int64_t Taps() const { return Product(&Window::kernel); }
  [[nodiscard]] std::int64_t InPerGroup() const { return in_channels / groups; }
  [[nodiscard]] std::int64_t OutPerGroup() const { return out_channels / groups; }
  [[nodiscard]] std::int64_t Columns() const { return Taps() * InPerGroup(); }

 private:
  [[nodiscard]] std::int64_t Product(std::int64_t Window::* extent) const {
    std::int64_t product = 1;
    for (const Window& window : windows) product *= window.*extent;
    return product;
  }
};

Window MakeWindow(const NodeRun& run, bool transposed, std::int64_t i, std::int64_t spatial) {
  const std::int64_t stride = run.Ints("stride")[i];
  const std::int64_t before = run.Ints("padding")[i];
  const std::int64_t after = run.Ints("padding")[spatial + i];
  const std::int64_t dilation = run.Ints("dilation")[i];
  Window window;
  window.input = run.ShapeOf(0)[2 + i];
  window.kernel = run.ShapeOf(1)[2 + i];
  const std::int64_t reach = dilation * (window.kernel - 1) + 1;
  if (transposed) {
    window.output =
        (window.input - 1) * stride - before - after + reach + run.Ints("output_padding")[i];
  } else {
    const std::int64_t slack = window.input + before + after - reach;
    window.output = slack < 0 ? 0 : slack / stride + 1;
  }
  run.Expect(window.kernel >= 1 && window.output >= 1 && window.output <= INT32_MAX, "inputs[0]",
             "expected an extent that the kernel fits into, found input " +
                 ShapeString(run.ShapeOf(0)) + " and weight " + ShapeString(run.ShapeOf(1)));
  window.source.clear();
  for (std::int64_t o = 0; o < window.output; ++o) {
    for (std::int64_t k = 0; k < window.kernel; ++k) {
      std::int64_t at = transposed ? o + before - k * dilation : o * stride - before + k * dilation;
      if (transposed) at = at % stride == 0 ? at / stride : -1;
      window.source.push_back(at >= 0 && at < window.input ? at : -1);
    }
  }
  return window;
}

Geometry MakeGeometry(const NodeRun& run, bool transposed) {
  const Shape& x = run.ShapeOf(0);
  const Shape& w = run.ShapeOf(1);
  Geometry g;
  g.groups = run.Int("groups");
  g.batch = x[0];
  g.in_channels = x[1];
  g.out_channels = transposed ? w[1] * g.groups : w[0];
  const std::int64_t wanted = transposed ? w[0] : w[1] * g.groups;
  run.Expect(wanted == g.in_channels && g.in_channels > 0 && g.in_channels % g.groups == 0 &&
                 g.out_channels > 0 && g.out_channels % g.groups == 0,
             "inputs[1]",
             "expected a weight for " + std::to_string(g.in_channels) + " channels in " +
                 std::to_string(g.groups) + " groups, found " + ShapeString(w));
  const auto spatial = static_cast<std::int64_t>(x.size()) - 2;
  g.out_shape = {g.batch, g.out_channels};
  for (std::int64_t i = 0; i < spatial; ++i) {
    Window& window = g.windows[graph::kMaxSpatial - spatial + i];
    window = MakeWindow(run, transposed, i, spatial);
    g.out_shape.push_back(window.output);
  }
  return g;
}

// Index of the weight for output channel `row` and patch column k = tap * InPerGroup + channel.
auto WeightIndex(const Geometry& g, bool transposed) {
  return [&g, transposed, taps = g.Taps(), in = g.InPerGroup(), out = g.OutPerGroup()](
             std::int64_t row, std::int64_t k) {
    const std::int64_t tap = k / in;
    const std::int64_t channel = k % in;
    if (!transposed) return (row * in + channel) * taps + tap;           // [out, in/g, taps]
    return ((row / out * in + channel) * out + row % out) * taps + tap;  // [in, out/g, taps]
  };
}

// The input pixel that each tap of output pixel `o` reads, or -1 in the padding; `to` has Taps()
// places.
void ReadPixels(const Geometry& g, std::int64_t o, std::vector<std::int64_t>& to) {
  const auto& [depth, height, width] = g.windows;
  const std::int64_t oz = o / (height.output * width.output);
  const std::int64_t* z = depth.source.data() + oz * depth.kernel;
  const std::int64_t* y = height.source.data() + o / width.output % height.output * height.kernel;
  const std::int64_t* x = width.source.data() + o % width.output * width.kernel;
  std::int64_t* pixel = to.data();
  for (std::int64_t kz = 0; kz < depth.kernel; ++kz) {
    for (std::int64_t ky = 0; ky < height.kernel; ++ky) {
      const bool inside = z[kz] >= 0 && y[ky] >= 0;
      const std::int64_t line = (z[kz] * height.input + y[ky]) * width.input;
      for (std::int64_t kx = 0; kx < width.kernel; ++kx) {
        *pixel++ = inside && x[kx] >= 0 ? line + x[kx] : -1;
      }
    }
  }
}

// Copies the taps that `pixels` names, in one group, from channels-last `image`; padding stays 0.
template <typename T>
void FillPatch(const Geometry& g, const T* image, const std::vector<std::int64_t>& pixels,
               std::int64_t group, T* patch) {
  const std::int64_t channels = g.InPerGroup();
  for (const std::int64_t pixel : pixels) {
    if (pixel < 0) {
      std::fill_n(patch, channels, T{0});
    } else {
      std::memcpy(patch, image + pixel * g.in_channels + group * channels,
                  static_cast<std::size_t>(channels) * sizeof(T));
    }
    patch += channels;
  }
}

// One image, channels first, to channels last with `zero` subtracted.
template <typename T, typename U>
void ToChannelsLast(const Geometry& g, const T* image, std::int32_t zero, U* out) {
  const std::int64_t pixels = g.InPixels();
  for (std::int64_t c = 0; c < g.in_channels; ++c) {
    for (std::int64_t p = 0; p < pixels; ++p) {
      out[p * g.in_channels + c] = static_cast<U>(image[c * pixels + p]) - static_cast<U>(zero);
    }
  }
}

void ConvImage(const Geometry& g, const IntRows& weights, const OutputStage& stage,
               const std::int16_t* image, std::int64_t n, Tensor& out) {
  std::vector<std::int16_t> patches(static_cast<std::size_t>(kTile * weights.stride));
  std::vector<std::int32_t> acc(static_cast<std::size_t>((g.OutPerGroup() + 3) * kTile));
  std::vector<std::int64_t> taps(static_cast<std::size_t>(g.Taps()));
  const std::int64_t pixels = g.OutPixels();
  for (std::int64_t group = 0; group < g.groups; ++group) {
    const std::int64_t first = group * g.OutPerGroup();
    for (std::int64_t begin = 0; begin < pixels; begin += kTile) {
      const std::int64_t count = std::min(kTile, pixels - begin);
      for (std::int64_t p = 0; p < count; ++p) {
        ReadPixels(g, begin + p, taps);
        FillPatch(g, image, taps, group, patches.data() + p * weights.stride);
      }
      MultiplyTile(patches.data(), count, weights, first, first + g.OutPerGroup(), acc.data());
      for (std::int64_t r = 0; r < g.OutPerGroup(); ++r) {
        stage.Apply(first + r, acc.data() + r * kTile, count, out,
                    (n * g.out_channels + first + r) * pixels + begin, 1);
      }
    }
  }
}

// One input and one output channel per group: all channels of a pixel at once instead of 9-element
// rows.
void DepthwiseImage(const Geometry& g, const std::vector<std::int16_t>& weights,
                    const OutputStage& stage, const std::int16_t* image, std::int64_t n,
                    Tensor& out) {
  const std::int64_t channels = g.in_channels;
  const std::int64_t pixels = g.OutPixels();
  std::vector<std::int64_t> taps(static_cast<std::size_t>(g.Taps()));
  std::vector<std::int32_t> acc(static_cast<std::size_t>(channels));
  std::vector<std::int32_t> planes(static_cast<std::size_t>(channels * kTile));
  for (std::int64_t begin = 0; begin < pixels; begin += kTile) {
    const std::int64_t count = std::min(kTile, pixels - begin);
    for (std::int64_t p = 0; p < count; ++p) {
      std::ranges::fill(acc, 0);
      ReadPixels(g, begin + p, taps);
      for (std::int64_t tap = 0; tap < g.Taps(); ++tap) {
        const std::int64_t pixel = taps[tap];
        if (pixel < 0) continue;
        const std::int16_t* __restrict from = image + pixel * channels;
        const std::int16_t* __restrict weight = weights.data() + tap * channels;
        std::int32_t* __restrict to = acc.data();
        for (std::int64_t c = 0; c < channels; ++c) to[c] += from[c] * weight[c];
      }
      for (std::int64_t c = 0; c < channels; ++c) planes[c * kTile + p] = acc[c];
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      stage.Apply(c, planes.data() + c * kTile, count, out, (n * channels + c) * pixels + begin, 1);
    }
  }
}

template <typename X, typename W>
Tensor RunInteger(const NodeRun& run, const Geometry& g, bool transposed) {
  const Codes& x = *run.inputs[0].codes;
  const Codes& w = *run.inputs[1].codes;
  IntRows weights(g.out_channels, g.Columns());
  // A per-channel conv_transpose has one scale per column of [in, out/g]: row r uses scale r %
  // (out/g).
  FillRows(weights, run.inputs[1].tensor->Span<W>().data(), w.zero_point,
           WeightIndex(g, transposed));
  const OutputStage stage(run, x, w, weights.magnitude);
  Tensor out = Tensor::Zeros(run.output_dtype, g.out_shape);
  const bool depthwise = g.InPerGroup() == 1 && g.OutPerGroup() == 1;
  std::vector<std::int16_t> by_tap;
  for (std::int64_t tap = 0; depthwise && tap < g.Taps(); ++tap) {
    for (std::int64_t c = 0; c < g.out_channels; ++c)
      by_tap.push_back(weights.values[c * weights.stride + tap]);
  }
  const X* codes = run.inputs[0].tensor->Span<X>().data();
  const std::int64_t image_size = g.in_channels * g.InPixels();
  ParallelFor(run.options.threads, g.batch, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int16_t> image(static_cast<std::size_t>(image_size));
    for (std::int64_t n = begin; n < end; ++n) {
      ToChannelsLast(g, codes + n * image_size, x.zero_point[0], image.data());
      if (depthwise) {
        DepthwiseImage(g, by_tap, stage, image.data(), n, out);
      } else {
        ConvImage(g, weights, stage, image.data(), n, out);
      }
    }
  });
  return out;
}

Tensor RunFloat(const NodeRun& run, const Geometry& g, bool transposed) {
  const Floats x(run.inputs[0]);
  const Floats w(run.inputs[1]);
  const std::int64_t rows = g.OutPerGroup();
  const std::int64_t columns = g.Columns();
  const auto index = WeightIndex(g, transposed);
  std::vector<double> weights(static_cast<std::size_t>(g.out_channels * columns));
  for (std::int64_t r = 0; r < g.out_channels; ++r) {
    for (std::int64_t k = 0; k < columns; ++k) {
      weights[(r / rows * columns + k) * rows + r % rows] = w[index(r, k)];
    }
  }
  const std::vector<double> bias = run.FloatBias(g.out_channels);
  const std::int64_t pixels = g.OutPixels();
  const std::int64_t image_size = g.in_channels * g.InPixels();
  std::vector<float> out(static_cast<std::size_t>(NumElements(g.out_shape)));
  ParallelFor(run.options.threads, g.batch, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> image(static_cast<std::size_t>(image_size));
    std::vector<float> patch(static_cast<std::size_t>(columns));
    std::vector<double> acc(static_cast<std::size_t>(rows));
    std::vector<std::int64_t> taps(static_cast<std::size_t>(g.Taps()));
    for (std::int64_t n = begin; n < end; ++n) {
      ToChannelsLast(g, x.data() + n * image_size, 0, image.data());
      for (std::int64_t group = 0; group < g.groups; ++group) {
        for (std::int64_t p = 0; p < pixels; ++p) {
          ReadPixels(g, p, taps);
          FillPatch(g, image.data(), taps, group, patch.data());
          std::copy_n(bias.begin() + group * rows, rows, acc.begin());
          MultiplyFloat(patch.data(), 1, weights.data() + group * columns * rows, columns, rows,
                        acc.data());
          for (std::int64_t r = 0; r < rows; ++r) {
            out[(n * g.out_channels + group * rows + r) * pixels + p] = static_cast<float>(acc[r]);
          }
        }
      }
    }
  });
  return run.Finish(std::move(out), g.out_shape);
}

// Integer arithmetic needs one scale for x and the output, and for w one or one per output channel.
bool IsInteger(const NodeRun& run, bool transposed) {
  const Codes* x = run.inputs[0].codes;
  const Codes* w = run.inputs[1].codes;
  if (x == nullptr || w == nullptr || !x->PerTensor()) return false;
  if (run.output != nullptr && !run.output->PerTensor()) return false;
  return w->PerTensor() || (!w->grouped && w->axis == (transposed ? 1 : 0));
}

}  // namespace

Tensor RunConv(const NodeRun& run) {
  const bool transposed = run.node.op == "conv_transpose";
  const Geometry g = MakeGeometry(run, transposed);
  if (!IsInteger(run, transposed)) return RunFloat(run, g, transposed);
  const bool signed_x = run.inputs[0].codes->dtype == DType::kInt8;
  const bool signed_w = run.inputs[1].codes->dtype == DType::kInt8;
  if (signed_x) {
    return signed_w ? RunInteger<std::int8_t, std::int8_t>(run, g, transposed)
                    : RunInteger<std::int8_t, std::uint8_t>(run, g, transposed);
  }
  return signed_w ? RunInteger<std::uint8_t, std::int8_t>(run, g, transposed)
                  : RunInteger<std::uint8_t, std::uint8_t>(run, g, transposed);
}

}  // namespace edgeqat::reference
