// SPDX-License-Identifier: Apache-2.0
// The table of graph ops.
#include "core/graph_schema.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace edgeqat::graph {
namespace {

using Kind = AttributeKind;

constexpr AttributeSpec kConv[] = {
    {"stride", Kind::kInts}, {"padding", Kind::kInts}, {"dilation", Kind::kInts}, {"groups"}};
constexpr AttributeSpec kConvTranspose[] = {{"stride", Kind::kInts},
                                            {"padding", Kind::kInts},
                                            {"output_padding", Kind::kInts},
                                            {"dilation", Kind::kInts},
                                            {"groups"}};
constexpr AttributeSpec kAxis[] = {{"axis"}};
constexpr AttributeSpec kMaxPool[] = {{"kernel", Kind::kInts},
                                      {"stride", Kind::kInts},
                                      {"padding", Kind::kInts},
                                      {"dilation", Kind::kInts},
                                      {"ceil_mode", Kind::kBool, Default::kZero}};
constexpr AttributeSpec kAvgPool[] = {{"kernel", Kind::kInts},
                                      {"stride", Kind::kInts},
                                      {"padding", Kind::kInts},
                                      {"ceil_mode", Kind::kBool, Default::kZero},
                                      {"count_include_pad", Kind::kBool}};
constexpr AttributeSpec kOutputSize[] = {{"output_size", Kind::kInts}};
constexpr AttributeSpec kMean[] = {{"axes", Kind::kInts}, {"keepdim", Kind::kBool}};
constexpr AttributeSpec kShape[] = {{"shape", Kind::kInts}};
constexpr AttributeSpec kTranspose[] = {{"permutation", Kind::kInts}};
constexpr AttributeSpec kSlice[] = {
    {"axis"}, {"start"}, {"end"}, {"step", Kind::kInt, Default::kOne}};
constexpr AttributeSpec kPad[] = {{"pads", Kind::kInts}, {"value", Kind::kFloat, Default::kZero}};
constexpr AttributeSpec kClamp[] = {{"min", Kind::kOptionalFloat, Default::kNone},
                                    {"max", Kind::kOptionalFloat, Default::kNone}};
constexpr AttributeSpec kLeakyRelu[] = {{"slope", Kind::kFloat}};
constexpr AttributeSpec kGelu[] = {{"approximate", Kind::kString}};
constexpr AttributeSpec kLayerNorm[] = {{"axes_count"}, {"eps", Kind::kFloat}};

constexpr std::array kOps = {
    OpSpec{"adaptive_avg_pool", 1, 1, kOutputSize},
    OpSpec{"add", 2, 2, {}},
    OpSpec{"avg_pool", 1, 1, kAvgPool},
    OpSpec{"cat", 1, kVariadic, kAxis},
    OpSpec{"clamp", 1, 1, kClamp},
    OpSpec{"conv", 2, 3, kConv},
    OpSpec{"conv_transpose", 2, 3, kConvTranspose},
    OpSpec{"dequantize", 1, 1, {}},
    OpSpec{"div", 2, 2, {}},
    OpSpec{"embedding", 2, 2, {}},
    OpSpec{"expand", 1, 1, kShape},
    OpSpec{"gelu", 1, 1, kGelu},
    OpSpec{"hardsigmoid", 1, 1, {}},
    OpSpec{"hardswish", 1, 1, {}},
    OpSpec{"identity", 1, 1, {}},
    OpSpec{"layer_norm", 1, 3, kLayerNorm},
    OpSpec{"leaky_relu", 1, 1, kLeakyRelu},
    OpSpec{"linear", 2, 3, {}},
    OpSpec{"matmul", 2, 2, {}},
    OpSpec{"max_pool", 1, 1, kMaxPool},
    OpSpec{"mean", 1, 1, kMean},
    OpSpec{"mul", 2, 2, {}},
    OpSpec{"pad", 1, 1, kPad},
    OpSpec{"quantize", 1, 1, {}},
    OpSpec{"relu", 1, 1, {}},
    OpSpec{"reshape", 1, 1, kShape},
    OpSpec{"sigmoid", 1, 1, {}},
    OpSpec{"silu", 1, 1, {}},
    OpSpec{"slice", 1, 1, kSlice},
    OpSpec{"softmax", 1, 1, kAxis},
    OpSpec{"sub", 2, 2, {}},
    OpSpec{"tanh", 1, 1, {}},
    OpSpec{"transpose", 1, 1, kTranspose},
};
static_assert(std::ranges::is_sorted(kOps, {}, &OpSpec::name), "FindOp searches by halves");

Attribute FallbackValue(const AttributeSpec& spec) {
  if (spec.fallback == Default::kNone) return std::monostate{};
  const bool one = spec.fallback == Default::kOne;
  if (spec.kind == Kind::kBool) return one;
  if (spec.kind == Kind::kFloat) return one ? 1.0 : 0.0;
  return std::int64_t{one};
}

}  // namespace

const OpSpec* FindOp(std::string_view name) {
  const auto found = std::ranges::lower_bound(kOps, name, {}, &OpSpec::name);
  return found != kOps.end() && found->name == name ? &*found : nullptr;
}

std::span<const OpSpec> AllOps() { return kOps; }

std::string_view Describe(AttributeKind kind) {
  switch (kind) {
    case Kind::kInt:
      return "an integer";
    case Kind::kBool:
      return "true or false";
    case Kind::kFloat:
      return "a finite number";
    case Kind::kOptionalFloat:
      return "a finite number or null";
    case Kind::kInts:
      return "a list of integers";
    case Kind::kString:
      return "a string";
  }
  return "a value";
}

bool Matches(AttributeKind kind, const Attribute& value) {
  const auto* number = std::get_if<double>(&value);
  const bool finite = number != nullptr && std::isfinite(*number);
  switch (kind) {
    case Kind::kInt:
      return std::holds_alternative<std::int64_t>(value);
    case Kind::kBool:
      return std::holds_alternative<bool>(value);
    case Kind::kFloat:
      return finite;
    case Kind::kOptionalFloat:
      return finite || std::holds_alternative<std::monostate>(value);
    case Kind::kInts:
      return std::holds_alternative<std::vector<std::int64_t>>(value);
    case Kind::kString:
      return std::holds_alternative<std::string>(value);
  }
  return false;
}

void Canonicalize(Node& node) {
  const OpSpec* op = FindOp(node.op);
  if (op == nullptr) return;
  for (const AttributeSpec& spec : op->attributes) {
    const auto found = node.attributes.find(spec.name);
    if (found == node.attributes.end()) {
      if (spec.fallback != Default::kRequired) {
        node.attributes.emplace(spec.name, FallbackValue(spec));
      }
      continue;
    }
    const bool wants_float = spec.kind == Kind::kFloat || spec.kind == Kind::kOptionalFloat;
    if (const auto* integer = std::get_if<std::int64_t>(&found->second); wants_float && integer) {
      found->second = static_cast<double>(*integer);
    }
  }
}

std::string Excerpt(std::string_view name) {
  constexpr std::size_t kShown = 64;
  if (name.size() <= kShown) return std::string(name);
  return std::string(name.substr(0, kShown)) + "... (" + std::to_string(name.size()) + " bytes)";
}

}  // namespace edgeqat::graph

namespace edgeqat {

bool IsExecutable(const Node& node) { return !node.op.starts_with(graph::kAtenPrefix); }

std::vector<std::string> KnownOps() {
  std::vector<std::string> names;
  for (const graph::OpSpec& op : graph::AllOps()) names.emplace_back(op.name);
  return names;
}

}  // namespace edgeqat
