// SPDX-License-Identifier: Apache-2.0
// JSON to Graph: types and presence of every field; ValidateGraph then checks what the values mean.
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "core/graph_json.h"
#include "core/graph_schema.h"

namespace edgeqat {
namespace {

using nlohmann::json;

// Reads the fields of one JSON object; the path is put together only when something is wrong.
class Fields {
 public:
  Fields(const json& object, std::string node, std::string path)
      : object_(object), node_(std::move(node)), path_(std::move(path)) {
    if (!object.is_object()) {
      throw GraphError(node_, path_.empty() ? "text" : path_,
                       std::string("expected an object, found ") + object.type_name());
    }
  }

  [[noreturn]] void Fail(std::string_view key, const std::string& problem) const {
    throw GraphError(node_, (path_.empty() ? "" : path_ + ".") + std::string(key), problem);
  }

  [[noreturn]] void Expected(std::string_view key, std::string_view wanted) const {
    const json& found = object_.at(std::string(key));
    Fail(key, "expected " + std::string(wanted) + ", found " +
                  (found.is_structured() ? std::string(found.type_name())
                                         : graph::Excerpt(found.dump())));
  }

  const json& At(std::string_view key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) Fail(key, "expected this field, found none");
    return *found;
  }

  void OnlyKnow(std::initializer_list<std::string_view> known) const {
    for (const auto& item : object_.items()) {
      if (std::ranges::find(known, item.key()) == known.end()) {
        Fail(graph::Excerpt(item.key()), "expected no such field; version " +
                                             std::to_string(kGraphVersion) + " does not have it");
      }
    }
  }

  static bool IsInt(const json& value) {
    return value.is_number_integer() &&
           (!value.is_number_unsigned() ||
            value.get<std::uint64_t>() <=
                static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  }

  std::int64_t Int(std::string_view key) const {
    if (!IsInt(At(key))) Expected(key, "a 64-bit integer");
    return At(key).get<std::int64_t>();
  }

  std::optional<std::int64_t> OptionalInt(std::string_view key) const {
    if (At(key).is_null()) return std::nullopt;
    return Int(key);
  }

  std::optional<double> OptionalFloat(std::string_view key) const {
    const auto found = object_.find(key);
    if (found == object_.end() || found->is_null()) return std::nullopt;
    if (!found->is_number()) Expected(key, "a number or null");
    return found->get<double>();
  }

  bool Bool(std::string_view key) const {
    if (!At(key).is_boolean()) Expected(key, "true or false");
    return At(key).get<bool>();
  }

  std::string String(std::string_view key) const {
    if (!At(key).is_string()) Expected(key, "a string");
    return At(key).get<std::string>();
  }

  const json& Array(std::string_view key, std::size_t most) const {
    const json& value = At(key);
    if (!value.is_array()) Expected(key, "a list");
    if (value.size() > most) {
      Fail(key, "expected at most " + std::to_string(most) + " entries, found " +
                    std::to_string(value.size()));
    }
    return value;
  }

  std::vector<std::string> Names(std::string_view key, bool allow_null = false) const {
    std::vector<std::string> names;
    for (const json& value : Array(key, graph::kMaxTensors)) {
      if (allow_null && value.is_null()) {
        names.emplace_back();
      } else if (value.is_string() && !value.get_ref<const std::string&>().empty()) {
        names.push_back(value.get<std::string>());
      } else {
        Fail(std::string(key) + "[" + std::to_string(names.size()) + "]",
             std::string("expected a tensor name") + (allow_null ? " or null" : "") + ", found " +
                 (value.is_string() ? "an empty string" : value.type_name()));
      }
    }
    return names;
  }

 private:
  const json& object_;
  std::string node_;
  std::string path_;
};

QuantParams ParseQuant(const json& object, const std::string& path) {
  const Fields fields(object, "", path);
  fields.OnlyKnow({"bits", "qmin", "qmax", "axis", "group_size", "scale", "zero_point"});
  const std::int64_t bits = fields.Int("bits");
  if (bits < 1 || bits > 8) fields.Expected("bits", "1 to 8");
  return {.bits = static_cast<int>(bits),
          .qmin = fields.Int("qmin"),
          .qmax = fields.Int("qmax"),
          .axis = fields.OptionalInt("axis"),
          .group_size = fields.OptionalInt("group_size"),
          .scale = fields.String("scale"),
          .zero_point = fields.String("zero_point")};
}

TensorInfo ParseTensor(const json& object, const std::string& path) {
  const Fields fields(object, "", path);
  fields.OnlyKnow({"shape", "dtype", "constant", "quant"});
  TensorInfo info;
  for (const json& extent : fields.Array("shape", graph::kMaxDimensions)) {
    if (!Fields::IsInt(extent))
      fields.Fail("shape", "expected a list of integers, found " + extent.dump());
    info.shape.push_back(extent.get<std::int64_t>());
  }
  const std::string dtype = fields.String("dtype");
  try {
    info.dtype = ParseDType(dtype);
  } catch (const Error&) {
    fields.Expected("dtype", "float32, int8, uint8, int32, int64 or bool");
  }
  info.constant = fields.Bool("constant");
  const json& quant = fields.At("quant");
  if (!quant.is_null()) info.quant = ParseQuant(quant, path + ".quant");
  return info;
}

Attribute ParseAttribute(const json& value, const Fields& fields, const std::string& name) {
  constexpr std::string_view kWanted =
      "null, a boolean, number, string or list of numbers or strings";
  if (value.is_null()) return std::monostate{};
  if (value.is_boolean()) return value.get<bool>();
  if (Fields::IsInt(value)) return value.get<std::int64_t>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) fields.Expected(name, kWanted);
  if (std::ranges::all_of(value, Fields::IsInt)) return value.get<std::vector<std::int64_t>>();
  if (std::ranges::all_of(value, [](const json& item) { return item.is_number(); })) {
    return value.get<std::vector<double>>();
  }
  if (std::ranges::all_of(value, [](const json& item) { return item.is_string(); })) {
    return value.get<std::vector<std::string>>();
  }
  fields.Expected(name, kWanted);
}

std::optional<Activation> ParseActivation(const json& value, const std::string& node,
                                          const std::string& path) {
  if (value.is_null()) return std::nullopt;
  const Fields fields(value, node, path);
  fields.OnlyKnow({"kind", "min", "max"});
  const std::string kind = fields.String("kind");
  if (kind == "relu") {
    fields.OnlyKnow({"kind"});
    return Activation{};
  }
  if (kind != "clamp") fields.Expected("kind", "\"relu\" or \"clamp\"");
  return Activation{Activation::Kind::kClamp, fields.OptionalFloat("min"),
                    fields.OptionalFloat("max")};
}

Node ParseNode(const json& object, std::size_t index) {
  const std::string path = "nodes[" + std::to_string(index) + "]";
  Node node;
  node.name = Fields(object, "", path).String("name");
  const Fields fields(object, node.name, path);
  fields.OnlyKnow({"name", "op", "inputs", "outputs", "attributes", "activation", "source"});
  node.op = fields.String("op");
  node.inputs = fields.Names("inputs", true);
  node.outputs = fields.Names("outputs");
  const Fields attributes(fields.At("attributes"), node.name, path + ".attributes");
  for (const auto& item : fields.At("attributes").items()) {
    node.attributes.emplace(item.key(), ParseAttribute(item.value(), attributes, item.key()));
  }
  node.activation = ParseActivation(fields.At("activation"), node.name, path + ".activation");
  if (!fields.At("source").is_null()) node.source = fields.String("source");
  graph::Canonicalize(node);
  return node;
}

std::string Describe(const std::string& node, const std::string& field,
                     const std::string& problem) {
  return "graph: " + (node.empty() ? "" : "node \"" + graph::Excerpt(node) + "\": ") + field +
         ": " + problem + "; lower the model again, or correct this field";
}

}  // namespace

GraphError::GraphError(std::string node, std::string field, const std::string& problem)
    : Error(ErrorCode::kCorruptFile, Describe(node, field, problem)),
      node_(std::move(node)),
      field_(std::move(field)) {}

Graph ParseGraph(std::string_view text) {
  const json document = graph::ParseJson(text);
  const Fields fields(document, "", "");
  if (fields.String("format") != "edgeqat.graph") fields.Expected("format", "\"edgeqat.graph\"");
  if (fields.Int("version") != kGraphVersion) {
    fields.Fail("version", "expected " + std::to_string(kGraphVersion) + ", found " +
                               fields.At("version").dump() + "; another edgeqat wrote it");
  }
  fields.OnlyKnow({"format", "version", "inputs", "outputs", "tensors", "nodes"});
  Graph graph;
  graph.inputs = fields.Names("inputs");
  graph.outputs = fields.Names("outputs");
  const json& tensors = fields.At("tensors");
  if (!tensors.is_object()) fields.Expected("tensors", "an object");
  if (tensors.size() > graph::kMaxTensors) {
    fields.Fail("tensors", "expected at most " + std::to_string(graph::kMaxTensors) +
                               " entries, found " + std::to_string(tensors.size()));
  }
  for (const auto& item : tensors.items()) {
    graph.tensors.emplace(item.key(),
                          ParseTensor(item.value(), "tensors." + graph::Excerpt(item.key())));
  }
  for (const json& node : fields.Array("nodes", graph::kMaxTensors)) {
    graph.nodes.push_back(ParseNode(node, graph.nodes.size()));
  }
  ValidateGraph(graph);
  return graph;
}

}  // namespace edgeqat
