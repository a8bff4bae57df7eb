// SPDX-License-Identifier: Apache-2.0
// The lowered graph: what a captured model computes, in one versioned JSON that Python writes once
// and the integer reference, the exporters and the planners read.
//
// Every tensor that carries QuantParams holds integer codes, every other one float32 (or indices).
// The text of a graph with one linear layer:
//
//   {"format": "edgeqat.graph", "version": 1, "inputs": ["x"], "outputs": ["fc"],
//    "tensors": {"x": {"shape": [-1, 4], "dtype": "float32", "constant": false, "quant": null},
//    ...}, "nodes": [{"name": "fc", "op": "linear", "inputs": ["x", "fc.weight", null], "outputs":
//    ["fc"],
//               "attributes": {}, "activation": null, "source": "model.py:12"}]}
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "edgeqat/error.h"
#include "edgeqat/tensor.h"

namespace edgeqat {

inline constexpr std::int64_t kGraphVersion = 1;

// Codes q stand for (q - zero_point) * scale. `scale` and `zero_point` name constants of the graph,
// float32 and int32 of one shape: [1] where axis is absent, [C] for axis k of extent C, and for
// group_size g the tensor's own shape with the extent of dimension k divided by g.
struct QuantParams {
  int bits = 8;  // 1..8: what storage needs; in memory a code takes one int8 or uint8
  std::int64_t qmin = -128;
  std::int64_t qmax = 127;
  std::optional<std::int64_t> axis{};
  std::optional<std::int64_t> group_size{};
  std::string scale{};
  std::string zero_point{};

  friend bool operator==(const QuantParams&, const QuantParams&) = default;
};

struct TensorInfo {
  std::vector<std::int64_t>
      shape{};  // -1: known only at run time (the batch); at most 8 dimensions
  DType dtype = DType::kFloat32;
  bool constant = false;
  std::optional<QuantParams> quant{};

  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

// monostate is JSON's null: `clamp` without a maximum.
using Attribute =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                 std::vector<double>, std::vector<std::string>>;

// Fused into the node that produces the tensor; in real values, before the output is quantized.
struct Activation {
  enum class Kind : std::uint8_t { kRelu, kClamp };
  Kind kind = Kind::kRelu;
  std::optional<double> min{};  // kClamp only; absent: unbounded
  std::optional<double> max{};

  friend bool operator==(const Activation&, const Activation&) = default;
};

struct Node {
  std::string name;
  std::string op;
  std::vector<std::string> inputs;  // "" for an absent optional one, null in JSON
  std::vector<std::string> outputs;
  std::map<std::string, Attribute, std::less<>> attributes;
  std::optional<Activation> activation;
  std::string source;  // "model.py:12", the user's line; may be empty

  friend bool operator==(const Node&, const Node&) = default;
};

// Nodes are in an order in which every tensor is defined before it is used.
struct Graph {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::map<std::string, TensorInfo, std::less<>> tensors;
  std::vector<Node> nodes;

  friend bool operator==(const Graph&, const Graph&) = default;
};

// What is wrong with a graph and where. what() holds all of it; node() is empty where the fault is
// not inside one node, field() reads like "nodes[3].attributes.stride" or
// "tensors.fc.weight.quant.scale".
class GraphError : public Error {
 public:
  GraphError(std::string node, std::string field, const std::string& problem);
  [[nodiscard]] const std::string& node() const noexcept { return node_; }
  [[nodiscard]] const std::string& field() const noexcept { return field_; }

 private:
  std::string node_;
  std::string field_;
};

// Reads and validates. Limits: 100 MB of text, nesting 32, 2^20 tensors and nodes, 64 KiB per name,
// 8 dimensions. Attributes with a default are filled in, so that readers find every attribute of an
// op. Throws GraphError (code kCorruptFile).
[[nodiscard]] Graph ParseGraph(std::string_view json);

// One line of JSON with sorted keys: equal graphs give equal bytes. Validates first.
[[nodiscard]] std::string SerializeGraph(const Graph& graph);

// Names, producers, order, ops, attributes, quantization parameters and ranks; throws GraphError.
void ValidateGraph(const Graph& graph);

// False for "aten.<name>": an op that was left as it is in PyTorch. The integer reference refuses
// it.
[[nodiscard]] bool IsExecutable(const Node& node);

// The ops that ParseGraph knows beside "aten.<name>", sorted.
[[nodiscard]] std::vector<std::string> KnownOps();

// An attribute of a validated node; throws GraphError where it is absent or of another type.
template <typename T>
[[nodiscard]] const T& GetAttribute(const Node& node, std::string_view name) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) {
    throw GraphError(node.name, "attributes." + std::string(name), "expected a value, found none");
  }
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) {
    throw GraphError(node.name, "attributes." + std::string(name),
                     "expected another type than the one it has; validate the graph first");
  }
  return *value;
}

}  // namespace edgeqat
