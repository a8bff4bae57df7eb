// SPDX-License-Identifier: Apache-2.0
// Graph to JSON: nlohmann's objects are std::map, so keys come out sorted.
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "core/graph_schema.h"

namespace edgeqat {
namespace {

using nlohmann::json;

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json ToJson(const TensorInfo& info) {
  json quant = nullptr;
  if (info.quant) {
    quant = {{"bits", info.quant->bits},
             {"qmin", info.quant->qmin},
             {"qmax", info.quant->qmax},
             {"axis", OrNull(info.quant->axis)},
             {"group_size", OrNull(info.quant->group_size)},
             {"scale", info.quant->scale},
             {"zero_point", info.quant->zero_point}};
  }
  return {{"shape", info.shape},
          {"dtype", std::string(DTypeName(info.dtype))},
          {"constant", info.constant},
          {"quant", std::move(quant)}};
}

json ToJson(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) -> json {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>)
          return nullptr;
        else
          return value;
      },
      attribute);
}

json ToJson(const std::optional<Activation>& activation) {
  if (!activation) return nullptr;
  if (activation->kind == Activation::Kind::kRelu) return {{"kind", "relu"}};
  return {{"kind", "clamp"}, {"min", OrNull(activation->min)}, {"max", OrNull(activation->max)}};
}

json ToJson(const Node& node) {
  json inputs = json::array();
  for (const std::string& name : node.inputs)
    inputs.push_back(name.empty() ? json(nullptr) : json(name));
  json attributes = json::object();
  for (const auto& [name, value] : node.attributes) attributes[name] = ToJson(value);
  return {{"name", node.name},
          {"op", node.op},
          {"inputs", std::move(inputs)},
          {"outputs", node.outputs},
          {"attributes", std::move(attributes)},
          {"activation", ToJson(node.activation)},
          {"source", node.source}};
}

}  // namespace

std::string SerializeGraph(const Graph& graph) {
  ValidateGraph(graph);
  json tensors = json::object();
  for (const auto& [name, info] : graph.tensors) tensors[name] = ToJson(info);
  json nodes = json::array();
  for (const Node& node : graph.nodes) nodes.push_back(ToJson(node));
  const json document = {{"format", "edgeqat.graph"},     {"version", kGraphVersion},
                         {"inputs", graph.inputs},        {"outputs", graph.outputs},
                         {"tensors", std::move(tensors)}, {"nodes", std::move(nodes)}};
  try {
    return document.dump();
  } catch (const json::exception& error) {
    throw GraphError("", "text",
                     "expected names in UTF-8, found: " + std::string(error.what()).substr(0, 240));
  }
}

}  // namespace edgeqat
