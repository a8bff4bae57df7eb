// SPDX-License-Identifier: Apache-2.0
// The integer reference: runs a lowered graph with the arithmetic that edge runtimes use, so that
// an exported file and the training simulation have one thing to agree with.
//
// conv, conv_transpose, linear, matmul whose two data operands hold codes (the first with one
// scale, the second with one, or one per output channel) accumulate in int32:
//
//   acc  = sum (x - zx) * (w - zw) + b,   b = rint(bias / (sx * sw)) in int32, see QuantizeBias
//   q    = clamp(zy + rint(float32(acc) * m), lo, hi),   m = (sx * sw) / sy, each step in float32
//
// where lo and hi are qmin and qmax narrowed by a fused activation, and rint rounds half to even.
// That order of m is the runtimes' own: with m taken in float64 and rounded once, 12 % of the
// outputs that lie on a tie come out 1 code away from ONNX Runtime, with this order none. Without
// an output scale the result is float32(acc) * float32(sx * sw). Before a sum is started, sum |w -
// zw| * max |x - zx| <= 2^31 - 1 is proven for every output channel; a layer for which it does not
// hold is refused.
//
// reshape, transpose, slice, cat, pad (with 0), expand, identity, max_pool and embedding move codes
// where input and output share one scale and zero point. Every other op takes the dequantized
// float32 values, evaluates its formula in float64, rounds once to float32, applies the activation,
// and quantizes q = clamp(rint(y / s) + z, qmin, qmax).
//
// The result does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "edgeqat/graph.h"
#include "edgeqat/tensor.h"

namespace edgeqat {

// How an int32 accumulator becomes a code.
enum class RequantRule : std::uint8_t {
  kF32Even,  // rint(float32(acc) * m), half to even: ONNX Runtime, LiteRT/XNNPACK, ExecuTorch, TVM,
             // torch
};

struct RunOptions {
  RequantRule requant = RequantRule::kF32Even;
  std::vector<std::string> keep{};  // tensors to return; empty: the outputs of the graph
  bool keep_all = false;            // return every tensor that is computed
  int threads = 1;
};

// Runs the graph. `constants` holds every constant of the graph that the run needs, codes as int8
// or uint8. `inputs` holds the graph's inputs; it may also name any computed tensor, which is then
// taken as given, so that one layer can be run alone on what another runtime fed it. A tensor with
// QuantParams is given as codes or as float32, which is quantized first; it is returned as codes.
// Only nodes that the returned tensors need are run.
//
// Throws Error: kInvalidArgument for a missing or wrongly shaped tensor or a scale that is not
// positive and finite, kUnsupported for an aten op or a sum that may overflow int32; always naming
// the node.
[[nodiscard]] std::map<std::string, Tensor> RunReference(
    const Graph& graph, const std::map<std::string, Tensor>& constants,
    const std::map<std::string, Tensor>& inputs, const RunOptions& options = {});

// A bias at the scale of the accumulators. Where `in_float` is 1 the code does not fit, its entry
// in `codes` is 0 and the bias is added after the accumulator was scaled: y = float32(acc) * (sx *
// sw) + bias.
struct IntegerBias {
  std::vector<std::int32_t> codes;
  std::vector<std::uint8_t> in_float;
};

// codes[c] = rint(bias[c] / (input_scale * weight_scale[c])), half to even, in float64 over the
// float32 product; fits where |codes[c]| <= room[c], and room is 2^31 - 1 where it is empty.
// weight_scale has one value, or one per entry of bias.
[[nodiscard]] IntegerBias QuantizeBias(std::span<const float> bias, float input_scale,
                                       std::span<const float> weight_scale,
                                       std::span<const std::int64_t> room = {});

}  // namespace edgeqat
