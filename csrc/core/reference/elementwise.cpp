// SPDX-License-Identifier: Apache-2.0
// Ops on single values and on pairs of them: evaluated in float64, rounded once to float32.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

#include "core/reference/node_run.h"
#include "core/reference/parallel.h"
#include "edgeqat/error.h"

namespace edgeqat::reference {
namespace {

double Sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double HardSigmoid(double x) { return std::isnan(x) ? x : std::clamp(x + 3.0, 0.0, 6.0) / 6.0; }

double GeluTanh(double x) {
  const double inner = std::numbers::sqrt2 * std::numbers::inv_sqrtpi * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

double Gelu(double x) { return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2)); }

template <typename F>
Tensor Map(const NodeRun& run, const F& f) {
  const Floats x(run.inputs[0]);
  std::vector<float> out(x.view().size());
  ParallelFor(run.options.threads, std::ssize(out), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      out[i] = static_cast<float>(f(static_cast<double>(x[i])));
  });
  return run.Finish(std::move(out), run.ShapeOf(0));
}

Tensor Clamp(const NodeRun& run) {
  const auto bound = [&run](std::string_view name, double absent) {
    const auto* value = std::get_if<double>(&run.node.attributes.find(name)->second);
    return value == nullptr ? absent : static_cast<double>(static_cast<float>(*value));
  };
  const double low = bound("min", -std::numeric_limits<double>::infinity());
  const double high = bound("max", std::numeric_limits<double>::infinity());
  return Map(run, [=](double x) { return x < low ? low : x > high ? high : x; });
}

// How far one step in each dimension of the output moves in an operand: 0 where the operand is
// stretched.
std::vector<std::int64_t> BroadcastSteps(const Shape& shape, const Shape& out) {
  std::vector<std::int64_t> steps(out.size(), 0);
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    const std::size_t at = i + out.size() - shape.size();
    if (shape[i] != 1) steps[at] = step;
    step *= shape[i];
  }
  return steps;
}

Shape BroadcastShape(const NodeRun& run) {
  Shape a = run.ShapeOf(0);
  Shape b = run.ShapeOf(1);
  const std::size_t rank = std::max(a.size(), b.size());
  a.insert(a.begin(), rank - a.size(), 1);
  b.insert(b.begin(), rank - b.size(), 1);
  Shape out(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    run.Expect(a[i] == b[i] || a[i] == 1 || b[i] == 1, "inputs",
               "expected shapes that broadcast, found " + ShapeString(run.ShapeOf(0)) + " and " +
                   ShapeString(run.ShapeOf(1)));
    out[i] = a[i] == 1 ? b[i] : a[i];
  }
  return out;
}

template <typename F>
Tensor Combine(const NodeRun& run, const F& f) {
  const Shape shape = BroadcastShape(run);
  const Floats a(run.inputs[0]);
  const Floats b(run.inputs[1]);
  std::vector<float> out(static_cast<std::size_t>(NumElements(shape)));
  if (run.ShapeOf(0) == run.ShapeOf(1)) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = f(a.view()[i], b.view()[i]);
    return run.Finish(std::move(out), shape);
  }
  const auto a_steps = BroadcastSteps(run.ShapeOf(0), shape);
  const auto b_steps = BroadcastSteps(run.ShapeOf(1), shape);
  std::vector<std::int64_t> index(shape.size(), 0);
  std::int64_t at_a = 0;
  std::int64_t at_b = 0;
  for (float& value : out) {
    value = f(a[at_a], b[at_b]);
    for (std::size_t i = shape.size(); i-- > 0;) {  // the next index, last dimension first
      at_a += a_steps[i];
      at_b += b_steps[i];
      if (++index[i] < shape[i]) break;
      at_a -= a_steps[i] * shape[i];
      at_b -= b_steps[i] * shape[i];
      index[i] = 0;
    }
  }
  return run.Finish(std::move(out), shape);
}

}  // namespace

Tensor RunUnary(const NodeRun& run) {
  const std::string_view op = run.node.op;
  if (op == "quantize" || op == "dequantize") {
    const Floats x(run.inputs[0]);
    return run.Finish({x.view().begin(), x.view().end()}, run.ShapeOf(0));
  }
  if (op == "relu") return Map(run, [](double x) { return x < 0.0 ? 0.0 : x; });
  if (op == "clamp") return Clamp(run);
  if (op == "leaky_relu") {
    const double slope = static_cast<float>(GetAttribute<double>(run.node, "slope"));
    return Map(run, [slope](double x) { return x < 0.0 ? x * slope : x; });
  }
  if (op == "sigmoid") return Map(run, Sigmoid);
  if (op == "tanh") return Map(run, [](double x) { return std::tanh(x); });
  if (op == "hardsigmoid") return Map(run, HardSigmoid);
  if (op == "hardswish") return Map(run, [](double x) { return x * HardSigmoid(x); });
  if (op == "silu") return Map(run, [](double x) { return x * Sigmoid(x); });
  if (op == "gelu") {
    return GetAttribute<std::string>(run.node, "approximate") == "tanh" ? Map(run, GeluTanh)
                                                                        : Map(run, Gelu);
  }
  run.Fail(ErrorCode::kInternal, "op", "expected a unary op");
}

// One float32 operation each: rounding the float64 result again would give the same bits.
Tensor RunBinary(const NodeRun& run) {
  const std::string_view op = run.node.op;
  if (op == "add") return Combine(run, [](float a, float b) { return a + b; });
  if (op == "sub") return Combine(run, [](float a, float b) { return a - b; });
  if (op == "mul") return Combine(run, [](float a, float b) { return a * b; });
  if (op == "div") return Combine(run, [](float a, float b) { return a / b; });
  run.Fail(ErrorCode::kInternal, "op", "expected a binary op");
}

}  // namespace edgeqat::reference
