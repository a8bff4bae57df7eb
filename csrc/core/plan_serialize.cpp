// SPDX-License-Identifier: Apache-2.0
// Plans to plain data and to JSON; what a text says is checked by the rules that read it.
#include "core/plan_fields.h"
#include "core/recipe_fields.h"

namespace edgeqat {
namespace internal {
namespace {

bool IsEmpty(const Value& value) {
  const auto* flag = value.As<bool>();
  const auto* text = value.As<std::string>();
  return value.IsNone() || (flag != nullptr && !*flag) || (text != nullptr && text->empty());
}

Value TensorValue(const TensorPlan& tensor) {
  Map map = ToMap(tensor, kTensorFields);
  std::erase_if(map, [](const auto& item) { return item.first != "bits" && IsEmpty(item.second); });
  return {std::move(map)};
}

}  // namespace

Value PlanValue(const Plan& plan) {
  List groups;
  for (const auto& group : plan.shared_groups) {
    List names;
    for (const std::string& name : group) names.push_back({name});
    groups.push_back({std::move(names)});
  }
  List layers;
  layers.reserve(plan.layers.size());
  for (const LayerPlan& layer : plan.layers) {
    Map map = {{"name", {layer.name}}, {"operator", {layer.op}}};
    map.emplace_back("output", TensorValue(layer.output));
    if (layer.weight) map.emplace_back("weight", TensorValue(*layer.weight));
    if (layer.input) map.emplace_back("input", TensorValue(*layer.input));
    layers.push_back({std::move(map)});
  }
  Map map = {{"version", {kPlanVersion}}, {"recipe", {RecipeMap(plan.recipe)}}};
  for (auto& item : ToMap(plan, kPlanFields)) map.push_back(std::move(item));
  map.emplace_back("shared_groups", Value{std::move(groups)});
  map.emplace_back("layers", Value{std::move(layers)});
  return {std::move(map)};
}

}  // namespace internal

namespace {

const internal::Origin kOrigin = {ErrorCode::kInvalidArgument, "plan: "};

}  // namespace

std::string SerializePlan(const Plan& plan) {
  const internal::Value value = internal::PlanValue(plan);
  static_cast<void>(internal::ReadPlan(value, kOrigin));
  return internal::JsonText(value);
}

void ValidatePlan(const Plan& plan) {
  static_cast<void>(internal::ReadPlan(internal::PlanValue(plan), kOrigin));
}

}  // namespace edgeqat
