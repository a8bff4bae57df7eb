// SPDX-License-Identifier: Apache-2.0
// What must hold of a whole graph: names, producers, order and quantization parameters. What one op
// asks of its own inputs and attributes is in graph_rules.cpp.
#include <algorithm>
#include <set>
#include <string>
#include <unordered_set>

#include "core/graph_json.h"
#include "core/graph_rules.h"
#include "core/graph_schema.h"

namespace edgeqat {
namespace {

using graph::Excerpt;

void CheckName(const std::string& node, const std::string& field, const std::string& name) {
  if (name.empty() || name.size() > graph::kMaxNameBytes) {
    throw GraphError(node, field,
                     "expected a name of 1 to " + std::to_string(graph::kMaxNameBytes) +
                         " bytes, found " + std::to_string(name.size()));
  }
}

// The shape that the scale and zero point of a tensor have.
std::vector<std::int64_t> QuantShape(const TensorInfo& info) {
  const QuantParams& quant = *info.quant;
  if (!quant.axis) return {1};
  if (!quant.group_size) return {info.shape[*quant.axis]};
  std::vector<std::int64_t> shape = info.shape;
  shape[*quant.axis] /= *quant.group_size;
  return shape;
}

void CheckQuantConstant(const Graph& graph, const TensorInfo& info, const std::string& name,
                        const std::string& field, DType dtype) {
  const auto found = graph.tensors.find(name);
  if (found == graph.tensors.end() || !found->second.constant) {
    throw GraphError(
        "", field,
        "expected the name of a constant, found \"" + Excerpt(name) + "\"" +
            (found == graph.tensors.end() ? ", which is not in tensors" : ", which is computed"));
  }
  const std::vector<std::int64_t> wanted = QuantShape(info);
  const bool scalar = !info.quant->axis && found->second.shape.empty();
  if (found->second.dtype != dtype || found->second.quant ||
      (found->second.shape != wanted && !scalar)) {
    throw GraphError(
        "", field,
        "expected " + std::string(DTypeName(dtype)) + " of shape " + ShapeString(wanted) +
            ", found " + std::string(DTypeName(found->second.dtype)) + " of shape " +
            ShapeString(found->second.shape) + (found->second.quant ? " with quant" : ""));
  }
}

void CheckQuant(const Graph& graph, const TensorInfo& info, const std::string& path) {
  const QuantParams& quant = *info.quant;
  const DType wanted = quant.qmin < 0 ? DType::kInt8 : DType::kUint8;
  if (info.dtype != wanted) {
    throw GraphError("", path + ".dtype",
                     "expected " + std::string(DTypeName(wanted)) + " for codes from " +
                         std::to_string(quant.qmin) + ", found " +
                         std::string(DTypeName(info.dtype)));
  }
  const std::int64_t lowest = quant.qmin < 0 ? -128 : 0;
  if (quant.bits < 1 || quant.bits > 8 || quant.qmin < lowest || quant.qmax > lowest + 255 ||
      quant.qmin >= quant.qmax || quant.qmax - quant.qmin >= (std::int64_t{1} << quant.bits)) {
    throw GraphError(
        "", path + ".quant.qmax",
        "expected qmin < qmax inside int8 or uint8 with at most 2^bits codes, found bits " +
            std::to_string(quant.bits) + ", qmin " + std::to_string(quant.qmin) + ", qmax " +
            std::to_string(quant.qmax));
  }
  const auto rank = static_cast<std::int64_t>(info.shape.size());
  if (quant.axis && (*quant.axis < 0 || *quant.axis >= rank || info.shape[*quant.axis] < 1)) {
    throw GraphError("", path + ".quant.axis",
                     "expected the axis of a known extent of shape " + ShapeString(info.shape) +
                         ", found " + std::to_string(*quant.axis));
  }
  if (quant.group_size) {
    const bool fits = quant.axis && *quant.group_size >= 1 &&
                      info.shape[*quant.axis] % *quant.group_size == 0 &&
                      std::ranges::find(info.shape, -1) == info.shape.end();
    if (!fits) {
      throw GraphError("", path + ".quant.group_size",
                       "expected a divisor of the extent at axis and a known shape, found " +
                           std::to_string(*quant.group_size) + " for shape " +
                           ShapeString(info.shape));
    }
  }
  CheckQuantConstant(graph, info, quant.scale, path + ".quant.scale", DType::kFloat32);
  CheckQuantConstant(graph, info, quant.zero_point, path + ".quant.zero_point", DType::kInt32);
}

void CheckTensor(const std::string& name, const TensorInfo& info) {
  const std::string path = "tensors." + Excerpt(name);
  CheckName("", "tensors", name);
  if (info.shape.size() > graph::kMaxDimensions) {
    throw GraphError("", path + ".shape",
                     "expected at most 8 dimensions, found " + std::to_string(info.shape.size()));
  }
  if (info.dtype == DType::kFloat16 || info.dtype == DType::kBFloat16) {
    throw GraphError("", path + ".dtype",
                     "expected float32, int8, uint8, int32, int64 or bool, found " +
                         std::string(DTypeName(info.dtype)));
  }
  std::vector<std::int64_t> known = info.shape;
  for (std::int64_t& extent : known) {
    if (extent < (info.constant ? 0 : -1)) {
      throw GraphError("", path + ".shape",
                       std::string("expected extents >= 0") +
                           (info.constant ? "" : " or -1 (dynamic)") + ", found " +
                           ShapeString(info.shape));
    }
    extent = std::max(extent, std::int64_t{1});
  }
  try {
    static_cast<void>(NumBytes(info.dtype, known));
  } catch (const Error&) {
    throw GraphError("", path + ".shape",
                     "expected fewer than 2^63 bytes, found " + ShapeString(info.shape));
  }
}

// The tensors that have a value so far, and where each comes from.
class Definitions {
 public:
  explicit Definitions(const Graph& graph) : graph_(graph) {
    for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
      Define("", "inputs[" + std::to_string(i) + "]", graph.inputs[i]);
    }
  }

  void Define(const std::string& node, const std::string& field, const std::string& name) {
    const TensorInfo& info = Find(node, field, name);
    if (info.constant) {
      throw GraphError(
          node, field,
          "expected a tensor that is computed, found the constant \"" + Excerpt(name) + "\"");
    }
    if (!defined_.insert(name).second) {
      throw GraphError(node, field,
                       "expected one producer for every tensor, found a second one for \"" +
                           Excerpt(name) + "\"");
    }
  }

  void Use(const std::string& node, const std::string& field, const std::string& name) const {
    if (!Find(node, field, name).constant && !defined_.contains(name)) {
      throw GraphError(node, field,
                       "expected a tensor that an earlier node or the input defines, found \"" +
                           Excerpt(name) + "\"; sort the nodes topologically");
    }
  }

  void CheckComplete() const {
    for (const auto& [name, info] : graph_.tensors) {
      if (!info.constant && !defined_.contains(name)) {
        throw GraphError(
            "", "tensors." + Excerpt(name),
            "expected a constant, an input or the output of a node, found none of them");
      }
    }
  }

 private:
  const TensorInfo& Find(const std::string& node, const std::string& field,
                         const std::string& name) const {
    const auto found = graph_.tensors.find(name);
    if (found == graph_.tensors.end()) {
      throw GraphError(node, field, "expected a name in tensors, found \"" + Excerpt(name) + "\"");
    }
    return found->second;
  }

  const Graph& graph_;
  std::unordered_set<std::string> defined_;
};

}  // namespace

void ValidateGraph(const Graph& graph) {
  if (graph.tensors.size() > graph::kMaxTensors || graph.nodes.size() > graph::kMaxTensors) {
    throw GraphError("", "tensors",
                     "expected at most " + std::to_string(graph::kMaxTensors) +
                         " tensors and nodes, found " + std::to_string(graph.tensors.size()) +
                         " and " + std::to_string(graph.nodes.size()));
  }
  for (const auto& [name, info] : graph.tensors) CheckTensor(name, info);
  for (const auto& [name, info] : graph.tensors) {
    if (info.quant) CheckQuant(graph, info, "tensors." + Excerpt(name));
  }
  Definitions definitions(graph);
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const std::string path = "nodes[" + std::to_string(i) + "]";
    CheckName(node.name, path + ".name", node.name);
    if (!names.insert(node.name).second) {
      throw GraphError(node.name, path + ".name", "expected a name of its own, found it twice");
    }
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      if (node.inputs[k].empty()) continue;
      definitions.Use(node.name, path + ".inputs[" + std::to_string(k) + "]", node.inputs[k]);
    }
    graph::CheckNode(graph, node, path);
    for (std::size_t k = 0; k < node.outputs.size(); ++k) {
      definitions.Define(node.name, path + ".outputs[" + std::to_string(k) + "]", node.outputs[k]);
    }
  }
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) {
    definitions.Use("", "outputs[" + std::to_string(i) + "]", graph.outputs[i]);
  }
  definitions.CheckComplete();
}

}  // namespace edgeqat
