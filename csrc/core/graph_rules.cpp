// SPDX-License-Identifier: Apache-2.0
// Ranks, dtypes and attribute ranges, op by op. Extents are checked where they are known: in a run.
#include "core/graph_rules.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string_view>
#include <vector>

#include "core/graph_schema.h"

namespace edgeqat::graph {
namespace {

using Ints = std::vector<std::int64_t>;

class Checker {
 public:
  Checker(const Graph& graph, const Node& node, const std::string& path)
      : graph_(graph), node_(node), path_(path) {}

  void Run() {
    const OpSpec* op = FindOp(node_.op);
    const bool aten = node_.op.starts_with(kAtenPrefix) && node_.op.size() > kAtenPrefix.size();
    if (op == nullptr && !aten) {
      Fail("op", "expected a known op or \"aten.<name>\", found \"" + Excerpt(node_.op) + "\"");
    }
    if (node_.outputs.empty()) Fail("outputs", "expected at least one output, found none");
    if (op == nullptr) return;  // what an aten op means is not known here
    CheckSignature(*op);
    CheckAttributes(*op);
    CheckActivation();
    CheckDTypes();
    CheckRanks();
  }

 private:
  [[noreturn]] void Fail(std::string_view field, const std::string& problem) const {
    throw GraphError(node_.name, path_ + "." + std::string(field), problem);
  }

  const TensorInfo& Info(const std::string& name, std::string_view field) const {
    const auto found = graph_.tensors.find(name);
    if (found == graph_.tensors.end()) {
      Fail(field, "expected a name in tensors, found \"" + Excerpt(name) + "\"");
    }
    return found->second;
  }
  bool Has(std::size_t i) const { return i < node_.inputs.size() && !node_.inputs[i].empty(); }
  const TensorInfo& In(std::size_t i) const { return Info(node_.inputs[i], "inputs"); }
  const TensorInfo& Out() const { return Info(node_.outputs[0], "outputs"); }
  std::int64_t Rank(std::size_t i) const { return static_cast<std::int64_t>(In(i).shape.size()); }

  void CheckSignature(const OpSpec& op) const {
    const int count = static_cast<int>(node_.inputs.size());
    if (count < op.min_inputs || (op.max_inputs != kVariadic && count > op.max_inputs)) {
      Fail("inputs",
           "expected " + std::to_string(op.min_inputs) +
               (op.max_inputs == kVariadic       ? " or more"
                : op.max_inputs == op.min_inputs ? ""
                                                 : " to " + std::to_string(op.max_inputs)) +
               " inputs of " + node_.op + ", found " + std::to_string(count));
    }
    for (std::size_t i = 0; i < node_.inputs.size(); ++i) {
      const bool needed = op.max_inputs == kVariadic || static_cast<int>(i) < op.min_inputs;
      if (needed && node_.inputs[i].empty()) {
        Fail("inputs[" + std::to_string(i) + "]", "expected a tensor name, found null");
      }
    }
    if (node_.outputs.size() != 1) {
      Fail("outputs", "expected one output of " + node_.op + ", found " +
                          std::to_string(node_.outputs.size()));
    }
  }

  void CheckAttributes(const OpSpec& op) const {
    for (const AttributeSpec& spec : op.attributes) {
      const std::string field = "attributes." + std::string(spec.name);
      const auto found = node_.attributes.find(spec.name);
      if (found == node_.attributes.end()) {
        Fail(field, "expected " + std::string(Describe(spec.kind)) + ", found none");
      }
      if (!Matches(spec.kind, found->second)) {
        Fail(field, "expected " + std::string(Describe(spec.kind)) + ", found another type");
      }
    }
    for (const auto& [name, value] : node_.attributes) {
      if (std::ranges::find(op.attributes, name, &AttributeSpec::name) == op.attributes.end()) {
        Fail("attributes." + Excerpt(name), "expected no such attribute of " + node_.op);
      }
    }
  }

  void CheckActivation() const {
    if (!node_.activation) return;
    const auto& [kind, min, max] = *node_.activation;
    if (kind == Activation::Kind::kRelu && (min || max)) {
      Fail("activation", "expected no bounds on relu");
    }
    CheckBounds("activation", min, max);
  }

  void CheckBounds(std::string_view field, std::optional<double> min,
                   std::optional<double> max) const {
    for (const auto& bound : {min, max}) {
      if (bound && !std::isfinite(*bound)) Fail(field, "expected finite bounds");
    }
    if (min && max && *min > *max) {
      Fail(field,
           "expected min <= max, found " + std::to_string(*min) + " and " + std::to_string(*max));
    }
  }

  // Real values: float32, or codes with quantization parameters.
  static bool IsReal(const TensorInfo& info) { return info.quant || info.dtype == DType::kFloat32; }

  void CheckDTypes() const {
    static const std::set<std::string_view> movement = {"cat",   "expand",    "identity", "reshape",
                                                        "slice", "transpose", "pad"};
    const bool moves = movement.contains(node_.op);
    for (std::size_t i = 0; i < node_.inputs.size(); ++i) {
      if (!Has(i)) continue;
      const std::string field = "inputs[" + std::to_string(i) + "]";
      const TensorInfo& info = In(i);
      if (node_.op == "embedding" && i == 0) {
        if (info.quant || (info.dtype != DType::kInt32 && info.dtype != DType::kInt64)) {
          Fail(field,
               "expected int32 or int64 indices, found " + std::string(DTypeName(info.dtype)));
        }
      } else if (moves && !info.quant) {
        if (info.dtype != Out().dtype && !(IsReal(info) && IsReal(Out()))) {
          Fail(field, "expected the dtype of the output, " + std::string(DTypeName(Out().dtype)) +
                          ", found " + std::string(DTypeName(info.dtype)));
        }
      } else if (!IsReal(info) && !IsIntegerBias(i, info)) {
        Fail(field, "expected float32 or a tensor with quant, found " +
                        std::string(DTypeName(info.dtype)));
      }
    }
    if (!IsReal(Out()) && !moves) {
      Fail("outputs[0]",
           "expected float32 or a tensor with quant, found " + std::string(DTypeName(Out().dtype)));
    }
    if (node_.op == "quantize" && !Out().quant) {  // of codes too: 8 bits for a sum, 2 for a layer
      Fail("outputs[0]", "expected a tensor with quant out of quantize");
    }
    if (node_.op == "dequantize" && (!In(0).quant || Out().quant)) {
      Fail("inputs[0]", "expected a tensor with quant into dequantize and float32 out of it");
    }
  }

  // A bias may be given as codes at scale(x) * scale(w) already.
  bool IsIntegerBias(std::size_t i, const TensorInfo& info) const {
    return i == 2 && info.dtype == DType::kInt32 && In(0).quant && In(1).quant &&
           (node_.op == "conv" || node_.op == "conv_transpose" || node_.op == "linear");
  }

  void WantRank(std::string_view field, std::int64_t found, std::int64_t wanted) const {
    if (found != wanted) {
      Fail(field, "expected rank " + std::to_string(wanted) + " in " + node_.op + ", found rank " +
                      std::to_string(found));
    }
  }
  void WantOut(std::int64_t rank) const {
    WantRank("outputs[0]", static_cast<std::int64_t>(Out().shape.size()), rank);
  }

  const Ints& WantInts(std::string_view name, std::int64_t count, std::int64_t least) const {
    const Ints& values = GetAttribute<Ints>(node_, name);
    if (std::ssize(values) != count ||
        std::ranges::any_of(values, [&](auto v) { return v < least || v > INT32_MAX; })) {
      Fail("attributes." + std::string(name), "expected " + std::to_string(count) +
                                                  " integers of " + std::to_string(least) +
                                                  " to 2^31-1, found " + ShapeString(values));
    }
    return values;
  }

  void WantAxis(std::string_view name, std::int64_t axis, std::int64_t rank) const {
    if (axis < 0 || axis >= rank) {
      Fail("attributes." + std::string(name), "expected an axis from 0 to " +
                                                  std::to_string(rank - 1) + ", found " +
                                                  std::to_string(axis));
    }
  }

  void CheckWindow(std::int64_t spatial) const {
    WantInts("stride", spatial, 1);
    WantInts("padding", 2 * spatial, 0);
  }

  // [N, C, spatial...]
  std::int64_t WantImages() const {
    const std::int64_t rank = Rank(0);
    if (rank < 3 || rank > 2 + kMaxSpatial) {
      Fail("inputs[0]", "expected rank 3 to " + std::to_string(2 + kMaxSpatial) + ", found rank " +
                            std::to_string(rank));
    }
    return rank;
  }

  void CheckConv(bool transposed) const {
    const std::int64_t rank = WantImages();
    WantRank("inputs[1]", Rank(1), rank);
    if (Has(2)) WantRank("inputs[2]", Rank(2), 1);
    CheckWindow(rank - 2);
    WantInts("dilation", rank - 2, 1);
    if (transposed) WantInts("output_padding", rank - 2, 0);
    if (GetAttribute<std::int64_t>(node_, "groups") < 1)
      Fail("attributes.groups", "expected at least 1");
    WantOut(rank);
  }

  void CheckPool() const {
    const std::int64_t rank = WantImages();
    const std::int64_t spatial = rank - 2;
    if (node_.op == "adaptive_avg_pool") {
      WantInts("output_size", spatial, 1);
    } else {
      const Ints& kernel = WantInts("kernel", spatial, 1);
      CheckWindow(spatial);
      const Ints& padding = GetAttribute<Ints>(node_, "padding");
      for (std::int64_t i = 0; i < 2 * spatial; ++i) {
        if (2 * padding[i] > kernel[i % spatial]) {
          Fail("attributes.padding",
               "expected at most half of the kernel, found " + ShapeString(padding));
        }
      }
      if (node_.op == "max_pool") WantInts("dilation", spatial, 1);
    }
    WantOut(rank);
  }

  void CheckMean() const {
    const Ints& axes = GetAttribute<Ints>(node_, "axes");
    for (const std::int64_t axis : axes) WantAxis("axes", axis, Rank(0));
    if (axes.empty() || std::set<std::int64_t>(axes.begin(), axes.end()).size() != axes.size()) {
      Fail("attributes.axes", "expected one or more axes, each once, found " + ShapeString(axes));
    }
    WantOut(GetAttribute<bool>(node_, "keepdim") ? Rank(0) : Rank(0) - std::ssize(axes));
  }

  void CheckShapeAttribute() const {
    const Ints& shape = GetAttribute<Ints>(node_, "shape");
    const bool bad = std::ranges::any_of(shape, [](auto extent) { return extent < -1; });
    if (bad || (node_.op == "reshape" && std::ranges::count(shape, -1) > 1) || shape.size() > 8) {
      Fail("attributes.shape",
           "expected up to 8 extents >= 0" +
               std::string(node_.op == "reshape" ? " and at most one -1" : " or -1") + ", found " +
               ShapeString(shape));
    }
    if (node_.op == "expand" && std::ssize(shape) < Rank(0)) {
      Fail("attributes.shape",
           "expected at least the rank of the input, found " + ShapeString(shape));
    }
    WantOut(std::ssize(shape));
  }

  void CheckTranspose() const {
    Ints sorted = GetAttribute<Ints>(node_, "permutation");
    std::ranges::sort(sorted);
    Ints identity(static_cast<std::size_t>(Rank(0)));
    std::iota(identity.begin(), identity.end(), 0);
    if (sorted != identity) {
      Fail("attributes.permutation", "expected every axis of the input once, found " +
                                         ShapeString(GetAttribute<Ints>(node_, "permutation")));
    }
    WantOut(Rank(0));
  }

  void CheckLayerNorm() const {
    const auto count = GetAttribute<std::int64_t>(node_, "axes_count");
    if (count < 1 || count > Rank(0)) {
      Fail("attributes.axes_count",
           "expected 1 to the rank of the input, found " + std::to_string(count));
    }
    if (GetAttribute<double>(node_, "eps") < 0) Fail("attributes.eps", "expected a number >= 0");
    for (const std::size_t i : {1, 2}) {
      if (Has(i)) WantRank("inputs[" + std::to_string(i) + "]", Rank(i), count);
    }
    WantOut(Rank(0));
  }

  void CheckRanks() const {
    const std::string_view op = node_.op;
    if (op == "conv" || op == "conv_transpose") return CheckConv(op == "conv_transpose");
    if (op == "max_pool" || op == "avg_pool" || op == "adaptive_avg_pool") return CheckPool();
    if (op == "mean") return CheckMean();
    if (op == "reshape" || op == "expand") return CheckShapeAttribute();
    if (op == "transpose") return CheckTranspose();
    if (op == "layer_norm") return CheckLayerNorm();
    if (op == "linear") {
      if (Rank(0) < 1) Fail("inputs[0]", "expected rank 1 or more, found rank 0");
      WantRank("inputs[1]", Rank(1), 2);
      if (Has(2)) WantRank("inputs[2]", Rank(2), 1);
      return WantOut(Rank(0));
    }
    if (op == "matmul") {
      if (Rank(0) < 2 || Rank(1) < 2) Fail("inputs", "expected two inputs of rank 2 or more");
      return WantOut(std::max(Rank(0), Rank(1)));
    }
    if (op == "embedding") {
      WantRank("inputs[1]", Rank(1), 2);
      return WantOut(Rank(0) + 1);
    }
    if (op == "add" || op == "sub" || op == "mul" || op == "div") {
      return WantOut(std::max(Rank(0), Rank(1)));
    }
    if (op == "cat") {
      for (std::size_t i = 1; i < node_.inputs.size(); ++i) {
        WantRank("inputs[" + std::to_string(i) + "]", Rank(i), Rank(0));
      }
    }
    if (op == "cat" || op == "slice" || op == "softmax") {
      WantAxis("axis", GetAttribute<std::int64_t>(node_, "axis"), Rank(0));
    }
    if (op == "slice" && GetAttribute<std::int64_t>(node_, "step") < 1) {
      Fail("attributes.step", "expected at least 1");
    }
    if (op == "pad") WantInts("pads", 2 * Rank(0), 0);
    if (op == "clamp") {
      const auto bound = [this](std::string_view name) -> std::optional<double> {
        const auto* value = std::get_if<double>(&node_.attributes.find(name)->second);
        return value == nullptr ? std::nullopt : std::optional(*value);
      };
      CheckBounds("attributes", bound("min"), bound("max"));
    }
    if (op == "gelu") {
      const auto& approximate = GetAttribute<std::string>(node_, "approximate");
      if (approximate != "none" && approximate != "tanh") {
        Fail("attributes.approximate",
             "expected \"none\" or \"tanh\", found \"" + Excerpt(approximate) + "\"");
      }
    }
    WantOut(Rank(0));
  }

  const Graph& graph_;
  const Node& node_;
  const std::string& path_;
};

}  // namespace

void CheckNode(const Graph& graph, const Node& node, const std::string& path) {
  Checker(graph, node, path).Run();
}

}  // namespace edgeqat::graph
