// SPDX-License-Identifier: Apache-2.0
// One node in one run: its input values, its output's parameters, and how results leave it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/reference/codes.h"
#include "edgeqat/graph.h"
#include "edgeqat/reference.h"
#include "edgeqat/tensor.h"

namespace edgeqat::reference {

using Shape = std::vector<std::int64_t>;

struct Operand {
  const Tensor* tensor = nullptr;  // null: the optional input is absent
  const Codes* codes = nullptr;    // null: float32 or indices
  bool constant = false;
};

// float32 values of an operand: a view of its own where it is float32, dequantized into `storage`
// else.
class Floats {
 public:
  explicit Floats(const Operand& operand);
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  [[nodiscard]] const float* data() const { return view_.data(); }
  float operator[](std::int64_t i) const { return view_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] std::span<const float> view() const { return view_; }

 private:
  std::vector<float> storage_;
  std::span<const float> view_;
};

struct NodeRun {
  const Node& node;
  std::vector<Operand> inputs;
  const Codes* output = nullptr;  // null: the output is float32 (or indices)
  DType output_dtype = DType::kFloat32;
  const RunOptions& options;
  std::int64_t batch = 1;  // what -1 stands for where a shape is made from nothing (expand)

  [[nodiscard]] bool Has(std::size_t i) const {
    return i < inputs.size() && inputs[i].tensor != nullptr;
  }
  [[nodiscard]] const Shape& ShapeOf(std::size_t i) const { return inputs[i].tensor->shape; }
  [[nodiscard]] const Shape& Ints(std::string_view name) const {
    return GetAttribute<Shape>(node, name);
  }
  [[nodiscard]] std::int64_t Int(std::string_view name) const {
    return GetAttribute<std::int64_t>(node, name);
  }

  // The bias (input 2) as float64, `count` values; zeros where it is absent.
  [[nodiscard]] std::vector<double> FloatBias(std::int64_t count) const;

  // The activation, in real values.
  [[nodiscard]] float Activate(float value) const;

  // Applies the activation, then quantizes if the output has parameters.
  [[nodiscard]] Tensor Finish(std::vector<float> values, Shape shape) const;

  // True where input and output stand for the same real values code by code, so that codes may be
  // moved.
  [[nodiscard]] bool MovesCodes(std::size_t i) const;

  [[noreturn]] void Fail(ErrorCode code, std::string_view field, const std::string& problem) const;
  // Fail(kInvalidArgument) unless `ok`.
  void Expect(bool ok, std::string_view field, const std::string& problem) const {
    if (!ok) Fail(ErrorCode::kInvalidArgument, field, problem);
  }
};

// True for an op that a run can execute: every op of the graph's table.
bool HasKernel(std::string_view op);

// The ops, grouped as the files are.
Tensor RunConv(const NodeRun& run);       // conv, conv_transpose
Tensor RunLinear(const NodeRun& run);     // linear
Tensor RunMatmul(const NodeRun& run);     // matmul
Tensor RunEmbedding(const NodeRun& run);  // embedding
Tensor RunUnary(const NodeRun& run);      // relu, clamp, sigmoid, ..., quantize, dequantize
Tensor RunBinary(const NodeRun& run);     // add, sub, mul, div
Tensor RunMaxPool(const NodeRun& run);    // max_pool
Tensor RunAvgPool(const NodeRun& run);    // avg_pool, adaptive_avg_pool
Tensor RunMean(const NodeRun& run);       // mean
Tensor RunReshape(const NodeRun& run);    // reshape, identity
Tensor RunStrided(const NodeRun& run);    // transpose, slice, expand
Tensor RunCat(const NodeRun& run);        // cat
Tensor RunPad(const NodeRun& run);        // pad
Tensor RunSoftmax(const NodeRun& run);    // softmax
Tensor RunLayerNorm(const NodeRun& run);  // layer_norm

}  // namespace edgeqat::reference
