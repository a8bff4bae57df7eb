// SPDX-License-Identifier: Apache-2.0
// The integer reference against scalar sums written here, over random shapes; its refusals and
// options. Every op against NumPy and ONNX Runtime: tests/python/graph.
#include "edgeqat/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Reference, ConvIsTheScalarSumForRandomShapes) {
  Random random(7);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t groups = random.Int(1, 3);
    const std::int64_t in = groups * random.Int(1, 5), out = groups * random.Int(1, 6);
    const std::int64_t kernel = random.Int(1, 3), stride = random.Int(1, 2), pad = random.Int(0, 2);
    const std::int64_t dilation = random.Int(1, 2), size = random.Int(5, 12),
                       batch = random.Int(1, 3);
    const auto zx = static_cast<std::int32_t>(random.Int(-128, 127));
    OneLayer layer;
    layer.graph.inputs = {"x"};
    layer.graph.outputs = {"y"};
    layer.AddCodes("x", {-1, in, size, size}, 0.02F, zx);
    const Tensor w = random.Codes({out, in / groups, kernel, kernel});
    layer.AddConstant("w", w);
    std::vector<float> scales;
    for (std::int64_t o = 0; o < out; ++o)
      scales.push_back(0.001F * static_cast<float>(random.Int(1, 9)));
    layer.AddQuant("w", scales, 0, 0);
    layer.AddCodes("y", {-1, out, -1, -1}, 0.3F, 4);
    layer.graph.nodes.push_back({"conv",
                                 "conv",
                                 {"x", "w"},
                                 {"y"},
                                 {{"stride", Shape{stride, stride}},
                                  {"padding", Shape{pad, pad, pad, pad}},
                                  {"dilation", Shape{dilation, dilation}},
                                  {"groups", groups}},
                                 std::nullopt,
                                 ""});
    const Tensor x = random.Codes({batch, in, size, size});
    const Tensor y = RunReference(layer.graph, layer.constants, {{"x", x}}, {.threads = 2}).at("y");
    const std::int64_t extent = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
    ASSERT_EQ(y.shape, (Shape{batch, out, extent, extent}));
    const auto at = [&](const Tensor& t, std::int64_t a, std::int64_t b, std::int64_t c,
                        std::int64_t d) {
      return t.Span<std::int8_t>()[((a * t.shape[1] + b) * t.shape[2] + c) * t.shape[3] + d];
    };
    for (std::int64_t n = 0; n < batch; ++n)
      for (std::int64_t o = 0; o < out; ++o)
        for (std::int64_t i = 0; i < extent; ++i)
          for (std::int64_t j = 0; j < extent; ++j) {
            std::int64_t acc = 0;
            for (std::int64_t c = 0; c < in / groups; ++c)
              for (std::int64_t a = 0; a < kernel; ++a)
                for (std::int64_t b = 0; b < kernel; ++b) {
                  const std::int64_t row = i * stride - pad + a * dilation;
                  const std::int64_t column = j * stride - pad + b * dilation;
                  if (row < 0 || row >= size || column < 0 || column >= size) continue;
                  const std::int64_t channel = o / (out / groups) * (in / groups) + c;
                  acc += std::int64_t{at(x, n, channel, row, column) - zx} * at(w, o, c, a, b);
                }
            ASSERT_EQ(at(y, n, o, i, j), Requantize(acc, 0.02F, scales[o], 0.3F, 4))
                << "round " << round;
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
