// SPDX-License-Identifier: Apache-2.0
// The integer reference against scalar sums written here, over random shapes; its refusals and
// options. Every op against NumPy and ONNX Runtime: tests/python/graph.
#include "edgeqat/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/reference/node_run.h"

namespace edgeqat {
namespace {

using Shape = std::vector<std::int64_t>;
using Tensors = std::map<std::string, Tensor>;

// A graph of one node with constants; x and the output are int8 with one scale.
struct OneLayer {
  Graph graph;
  Tensors constants;

  void AddConstant(const std::string& name, Tensor tensor) {
    graph.tensors[name] = {tensor.shape, tensor.dtype, true, std::nullopt};
    constants[name] = std::move(tensor);
  }
  void AddQuant(const std::string& name, std::vector<float> scale, std::int32_t zero,
                std::optional<std::int64_t> axis) {
    const Shape shape = {std::ssize(scale)};
    AddConstant(name + ".scale", Tensor::From<float>(shape, scale));
    AddConstant(name + ".zero",
                Tensor::From<std::int32_t>(shape, std::vector<std::int32_t>(scale.size(), zero)));
    graph.tensors[name].quant =
        QuantParams{.axis = axis, .scale = name + ".scale", .zero_point = name + ".zero"};
  }
  void AddCodes(const std::string& name, const Shape& shape, float scale, std::int32_t zero) {
    graph.tensors[name] = {shape, DType::kInt8, false, std::nullopt};
    AddQuant(name, {scale}, zero, std::nullopt);
  }
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::int64_t Int(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  Tensor Codes(const Shape& shape) {
    Tensor tensor = Tensor::Zeros(DType::kInt8, shape);
    for (std::int8_t& code : tensor.MutableSpan<std::int8_t>())
      code = static_cast<std::int8_t>(Int(-128, 127));
    return tensor;
  }

 private:
  std::mt19937 engine_;
};

std::int8_t Requantize(std::int64_t acc, float sx, float sw, float sy, std::int32_t zero) {
  const float multiplier = sx * sw / sy;
  const float rounded = std::nearbyint(static_cast<float>(acc) * multiplier);
  return static_cast<std::int8_t>(
      std::clamp<double>(static_cast<double>(rounded) + zero, -128.0, 127.0));
}

// Depth, height, width: what one or two dimensions lack has extent 1.
using Volume = std::array<std::int64_t, 3>;

std::int64_t Offset(std::int64_t lead, const Volume& at, const Volume& extent) {
  return ((lead * extent[0] + at[0]) * extent[1] + at[1]) * extent[2] + at[2];
}

template <typename Body>
void ForEach(const Volume& extent, const Body& body) {
  for (std::int64_t z = 0; z < extent[0]; ++z)
    for (std::int64_t y = 0; y < extent[1]; ++y)
      for (std::int64_t x = 0; x < extent[2]; ++x) body(Volume{z, y, x});
}

// The last `spatial` entries behind `lead`.
Shape Tail(Shape lead, const Volume& values, std::int64_t spatial) {
  lead.insert(lead.end(), values.end() - spatial, values.end());
  return lead;
}

TEST(Reference, ConvIsTheScalarSumForRandomShapes) {
  Random random(7);
  for (int round = 0; round < 90; ++round) {
    const std::int64_t spatial = round % 3 + 1;
    const std::int64_t groups = random.Int(1, 3), batch = random.Int(1, 3);
    const std::int64_t in = groups * random.Int(1, 5), out = groups * random.Int(1, 6);
    Volume size{1, 1, 1}, kernel = size, stride = size, dilation = size, extent = size, pad{};
    for (std::int64_t i = 3 - spatial; i < 3; ++i) {
      size[i] = random.Int(5, spatial == 3 ? 7 : 12);
      kernel[i] = random.Int(1, 3);
      stride[i] = random.Int(1, 2);
      dilation[i] = random.Int(1, 2);
      pad[i] = random.Int(0, 2);
      extent[i] = (size[i] + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
    }
    const auto zx = static_cast<std::int32_t>(random.Int(-128, 127));
    OneLayer layer;
    layer.graph.inputs = {"x"};
    layer.graph.outputs = {"y"};
    layer.AddCodes("x", Tail({-1, in}, size, spatial), 0.02F, zx);
    const Tensor w = random.Codes(Tail({out, in / groups}, kernel, spatial));
    layer.AddConstant("w", w);
    std::vector<float> scales;
    for (std::int64_t o = 0; o < out; ++o)
      scales.push_back(0.001F * static_cast<float>(random.Int(1, 9)));
    layer.AddQuant("w", scales, 0, 0);
    layer.AddCodes("y", Shape(static_cast<std::size_t>(2 + spatial), -1), 0.3F, 4);
    layer.graph.nodes.push_back({"conv",
                                 "conv",
                                 {"x", "w"},
                                 {"y"},
                                 {{"stride", Tail({}, stride, spatial)},
                                  {"padding", Tail(Tail({}, pad, spatial), pad, spatial)},
                                  {"dilation", Tail({}, dilation, spatial)},
                                  {"groups", groups}},
                                 std::nullopt,
                                 ""});
    const Tensor x = random.Codes(Tail({batch, in}, size, spatial));
    const Tensor y = RunReference(layer.graph, layer.constants, {{"x", x}}, {.threads = 2}).at("y");
    ASSERT_EQ(y.shape, Tail({batch, out}, extent, spatial));
    const auto read = [](const Tensor& t, std::int64_t at) {
      return std::int64_t{t.Span<std::int8_t>()[at]};
    };
    for (std::int64_t n = 0; n < batch; ++n) {
      for (std::int64_t o = 0; o < out; ++o) {
        ForEach(extent, [&](const Volume& to) {
          std::int64_t acc = 0;
          for (std::int64_t c = 0; c < in / groups; ++c) {
            const std::int64_t channel = o / (out / groups) * (in / groups) + c;
            ForEach(kernel, [&](const Volume& tap) {
              Volume from{};
              for (int i = 0; i < 3; ++i) {
                from[i] = to[i] * stride[i] - pad[i] + tap[i] * dilation[i];
                if (from[i] < 0 || from[i] >= size[i]) return;
              }
              acc += (read(x, Offset(n * in + channel, from, size)) - zx) *
                     read(w, Offset(o * (in / groups) + c, tap, kernel));
            });
          }
          ASSERT_EQ(read(y, Offset(n * out + o, to, extent)),
                    Requantize(acc, 0.02F, scales[o], 0.3F, 4))
              << "round " << round;
        });
      }
    }
  }
}

OneLayer Linear(std::int64_t columns, std::int8_t weight, std::int32_t zx) {
  OneLayer layer;
  layer.graph.inputs = {"x"};
  layer.graph.outputs = {"y"};
  layer.AddCodes("x", {-1, columns}, 1.0F, zx);
  layer.AddConstant(
      "w", Tensor::From<std::int8_t>({1, columns}, std::vector<std::int8_t>(columns, weight)));
  layer.AddQuant("w", {1.0F}, 0, std::nullopt);
  layer.graph.tensors["y"] = {{-1, 1}, DType::kFloat32, false, std::nullopt};
  layer.graph.nodes.push_back({"fc", "linear", {"x", "w"}, {"y"}, {}, std::nullopt, "net.py:3"});
  return layer;
}

// With |x - zx| <= 255 and |w| = 127 the widest sum that is proven has (2^31 - 1) / (127 * 255) =
// 66311 terms.
TEST(Reference, ProvesThatInt32IsEnough) {
  const std::int64_t widest = 66311;
  for (const std::int64_t columns : {widest, widest + 1}) {
    const OneLayer layer = Linear(columns, 127, -128);
    const Tensor x =
        Tensor::From<std::int8_t>({1, columns}, std::vector<std::int8_t>(columns, 127));
    if (columns == widest) {
      const Tensor y = RunReference(layer.graph, layer.constants, {{"x", x}}).at("y");
      EXPECT_EQ(y.Span<float>()[0], static_cast<float>(widest * 127 * 255));
      continue;
    }
    try {
      static_cast<void>(RunReference(layer.graph, layer.constants, {{"x", x}}));
      FAIL() << "accepted a sum beyond int32";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("node \"fc\" (linear, net.py:3)"),
                std::string::npos);
      EXPECT_NE(std::string(error.what()).find(std::to_string(columns * 127 * 255)),
                std::string::npos);
    }
  }
}

TEST(Reference, BiasTakesTheRoomThatTheSumLeaves) {
  const std::vector<float> bias = {1.0F, -1.0F, 0.5F};
  const std::vector<float> scale = {0.25F};
  const std::vector<std::int64_t> room = {4, 3, 100};
  const IntegerBias result = QuantizeBias(bias, 1.0F, scale, room);
  EXPECT_EQ(result.codes, (std::vector<std::int32_t>{4, 0, 2}));
  EXPECT_EQ(result.in_float, (std::vector<std::uint8_t>{0, 1, 0}));
  EXPECT_EQ(QuantizeBias(std::vector<float>{0.625F, 0.375F}, 1.0F, scale).codes,
            (std::vector<std::int32_t>{2, 2}));  // 2.5 and 1.5: half to even
  const IntegerBias odd =
      QuantizeBias(std::vector<float>{NAN, INFINITY, 1e30F, -536870912.0F}, 1.0F, scale);
  EXPECT_EQ(odd.in_float, (std::vector<std::uint8_t>{1, 1, 1, 1}));  // -2^31: |code| > 2^31 - 1
  EXPECT_THROW(static_cast<void>(QuantizeBias(bias, 1.0F, std::vector<float>{1.0F, 2.0F})), Error);
}

TEST(Reference, KeepsWhatWasAskedFor) {
  const OneLayer layer = Linear(3, 1, 0);
  const Tensor x = Tensor::From<std::int8_t>({1, 3}, std::vector<std::int8_t>{1, 2, 3});
  const Tensors inputs = {{"x", x}};
  EXPECT_EQ(RunReference(layer.graph, layer.constants, inputs).size(), 1U);
  EXPECT_EQ(RunReference(layer.graph, layer.constants, inputs, {.keep = {"x", "y", "w"}}).size(),
            3U);
  EXPECT_EQ(RunReference(layer.graph, layer.constants, inputs, {.keep = {"x", "y"}}).at("x"), x);
  EXPECT_THROW(
      static_cast<void>(RunReference(layer.graph, layer.constants, inputs, {.keep = {"q"}})),
      Error);
  EXPECT_THROW(static_cast<void>(RunReference(layer.graph, {}, inputs)), Error);
  EXPECT_THROW(static_cast<void>(RunReference(layer.graph, layer.constants, {})), Error);
}

TEST(Reference, EveryKnownOpHasAKernel) {
  for (const std::string& op : KnownOps()) EXPECT_TRUE(reference::HasKernel(op)) << op;
  EXPECT_FALSE(reference::HasKernel("aten.fft"));
}

}  // namespace
}  // namespace edgeqat
