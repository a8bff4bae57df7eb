// SPDX-License-Identifier: Apache-2.0
// A recipe resolved on one model: a decision per tensor. It travels inside the checkpoint:
//
//   const edgeqat::Checkpoint checkpoint = edgeqat::LoadCheckpoint("model.safetensors");
//   edgeqat::Plan plan = edgeqat::ParsePlan(checkpoint.plan);
//   for (const edgeqat::LayerPlan& layer : plan.layers) {
//     if (layer.weight && layer.weight->bits) std::cout << layer.weight->name << '\n';
//   }
//   edgeqat::CheckPlan(plan, edgeqat::FindTarget(plan.target));
//
// The text of a plan with one layer (empty, false and absent fields of a tensor are left out):
//
//   {"version": 1, "recipe": {"weight_bits": 8, ...}, "target": "onnxruntime", "mode": "graph",
//    "dynamic_batch": true, "shared_groups": [], "layers": [{"name": "fc", "operator": "linear",
//    "output": {"name": "fc", "status": "quantized", "bits": 8, "granularity": "tensor",
//               "shape": [-1, 10], "source": "model.py:12"},
//    "weight": {"name": "fc.weight", "status": "quantized", "bits": 4, "symmetric": true,
//               "granularity": "channel", "axis": 0, "shape": [10, 64], "source": "model.py:12"}}]}
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/quant_spec.h"
#include "edgeqat/recipe.h"
#include "edgeqat/target.h"

namespace edgeqat {

inline constexpr std::int64_t kPlanVersion = 1;

// kFused: it exists only inside a merged operator. kShared: it carries the values and the scale of
// another tensor. kFloat: the note says why.
enum class TensorStatus : std::uint8_t { kQuantized, kFused, kShared, kFloat };

template <>
struct EnumNames<TensorStatus> {
  static constexpr std::array<std::string_view, 4> kNames = {"quantized", "fused", "shared",
                                                             "float"};
};

// kGraph: every tensor of the captured graph. kModule: Linear, Conv and Embedding modules in place.
enum class PlanMode : std::uint8_t { kGraph, kModule };

template <>
struct EnumNames<PlanMode> {
  static constexpr std::array<std::string_view, 2> kNames = {"graph", "module"};
};

// The decision about one tensor. Change the format by EditTensor, which keeps the fields in step.
struct TensorPlan {
  std::string name;  // weights carry their parameter's name
  TensorStatus status = TensorStatus::kFloat;
  std::optional<int> bits{};  // of kQuantized, and only of it
  bool symmetric = true;
  Granularity granularity = Granularity::kTensor;
  std::optional<std::int64_t> axis{};
  std::optional<std::int64_t> group_size{};
  bool narrow_range = false;
  std::vector<std::int64_t> shape{};  // -1: a size that may change
  std::string source{};               // the user's line, "model.py:12"
  std::string note{};                 // why it stays float, or what it is fused into or shares with
  std::optional<std::array<double, 2>> fixed_range{};  // known beforehand, such as 0, 1 of softmax

  // The number format. Errors: kInvalidArgument where the tensor has none.
  [[nodiscard]] QuantSpec Spec() const;

  friend bool operator==(const TensorPlan&, const TensorPlan&) = default;
};

// The tensors of one operator.
struct LayerPlan {
  std::string name;
  std::string op;
  TensorPlan output{};
  std::optional<TensorPlan> weight{};  // a weight that two layers share stands in both, alike
  // Where the layer reads fewer bits than the tensor has for its other readers, such as a sum.
  std::optional<TensorPlan> input{};

  friend bool operator==(const LayerPlan&, const LayerPlan&) = default;
};

struct Plan {
  Recipe recipe{};
  std::string target = "onnxruntime";
  PlanMode mode = PlanMode::kGraph;
  bool dynamic_batch = true;
  std::vector<std::vector<std::string>> shared_groups{};  // layers whose outputs have one scale
  std::vector<LayerPlan> layers{};                        // in the order of the graph

  friend bool operator==(const Plan&, const Plan&) = default;
};

// Reads and validates. Limits: 64 MiB of text, nesting 32, 65,536 layers, 64 KiB per name, 64
// dimensions. Errors: kCorruptFile naming the field, what was expected and what was found.
[[nodiscard]] Plan ParsePlan(std::string_view json);

// One line of JSON; equal plans give equal bytes. Validates first.
[[nodiscard]] std::string SerializePlan(const Plan& plan);

// The rules of every tensor, names that come twice, groups of unknown tensors. Throws
// Error(kInvalidArgument).
void ValidatePlan(const Plan& plan);

// Throws Error(kInvalidArgument) where the target cannot store or compute a width or granularity.
void CheckPlan(const Plan& plan, const Target& target);

// Applies `change` to the format and checks the result; a refused change leaves `tensor` as it was.
// With bits the tensor becomes kQuantized, without them a quantized one becomes kFloat:
//
//   edgeqat::EditTensor(*plan.layers[3].weight, [](edgeqat::TensorPlan& t) { t.bits = 4; });
//
// Errors: kInvalidArgument for a format that contradicts itself or does not fit the shape, and for
// bits of a tensor that is fused or shared.
void EditTensor(TensorPlan& tensor, const std::function<void(TensorPlan&)>& change);

}  // namespace edgeqat
