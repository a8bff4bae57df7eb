// SPDX-License-Identifier: Apache-2.0
// Plans from plain data: the fields of each part, then what must hold between the parts.
#include <map>
#include <set>

#include "core/file_check.h"
#include "core/plan_fields.h"
#include "core/recipe_fields.h"

namespace edgeqat {
namespace internal {
namespace {

const Map& AsMap(const Value& value, const Origin& origin) {
  const auto* map = value.As<Map>();
  if (map == nullptr) origin.FailWhole("expected a mapping, found " + Show(value));
  return *map;
}

const Value* Find(const Map& map, std::string_view key) {
  const auto found = std::ranges::find(map, key, &Map::value_type::first);
  return found == map.end() ? nullptr : &found->second;
}

const Value& Require(const Map& map, std::string_view key, const Origin& origin) {
  const Value* found = Find(map, key);
  if (found == nullptr) origin.Fail(std::string(key) + " must be given, found nothing");
  return *found;
}

TensorPlan ReadTensor(const Value& value, const Origin& origin) {
  const Map& map = AsMap(value, origin);
  for (const char* key : {"name", "status", "bits"}) Require(map, key, origin);
  TensorPlan tensor;
  tensor.symmetric = false;  // the text leaves out what is false
  SetFields(tensor, map, kTensorFields, origin);
  CheckTensor(tensor, origin);
  return tensor;
}

LayerPlan ReadLayer(const Value& value, const Origin& origin) {
  const Map& map = AsMap(value, origin);
  LayerPlan layer;
  constexpr auto kFields = std::tuple{Field{"name", &LayerPlan::name, Name{}},
                                      Field{"operator", &LayerPlan::op, Name{}}};
  for (const auto& [key, item] : map) {
    if (key == "output" || key == "weight" || key == "input") continue;
    if (SetNamed(layer, kFields, key, item, origin)) continue;
    FailUnknown(key, {"name", "operator", "output", "weight", "input"}, origin);
  }
  for (const char* key : {"name", "operator"}) Require(map, key, origin);
  layer.output = ReadTensor(Require(map, "output", origin), origin.Inside("output."));
  const auto read = [&](const char* key, std::optional<TensorPlan>& tensor) {
    const Value* given = Find(map, key);
    if (given == nullptr || given->IsNone()) return;
    tensor = ReadTensor(*given, origin.Inside(std::string(key) + "."));
  };
  read("weight", layer.weight);
  read("input", layer.input);
  return layer;
}

std::vector<LayerPlan> ReadLayers(const Value& value, const Origin& origin) {
  const auto* list = value.As<List>();
  if (list == nullptr || list->size() > kMaxLayers) {
    origin.Fail("layers must be a list of at most " + std::to_string(kMaxLayers) +
                " entries, found " +
                (list == nullptr ? Show(value) : std::to_string(list->size())));
  }
  std::vector<LayerPlan> layers;
  layers.reserve(list->size());
  for (const Value& item : *list) {
    layers.push_back(
        ReadLayer(item, origin.Inside("layers[" + std::to_string(layers.size()) + "].")));
  }
  return layers;
}

std::vector<std::vector<std::string>> ReadGroups(const Value& value, const Origin& origin) {
  std::vector<std::vector<std::string>> groups;
  const auto refuse = [&](const Value& found) {
    origin.Fail("shared_groups must be a list of lists of at least two layer names, found " +
                Show(found));
  };
  const auto* list = value.As<List>();
  if (list == nullptr) refuse(value);
  for (const Value& item : *list) {
    const auto* members = item.As<List>();
    if (members == nullptr || members->size() < 2) refuse(item);
    groups.emplace_back();
    for (const Value& member : *members) {
      if (member.As<std::string>() == nullptr) refuse(member);
      groups.back().push_back(*member.As<std::string>());
    }
  }
  return groups;
}

void CheckLayers(const Plan& plan, const Origin& origin) {
  std::set<std::string_view> names;
  std::map<std::string_view, const TensorPlan*> weights;
  for (const LayerPlan& layer : plan.layers) {
    const auto fail = [&](const std::string& problem) {
      origin.Fail("layer '" + Printable(layer.name) + "': " + problem);
    };
    if (!names.insert(layer.name).second) fail("expected each layer once, found it twice");
    if (!layer.weight) continue;
    const auto [found, is_new] = weights.try_emplace(layer.weight->name, &*layer.weight);
    if (!is_new && *found->second != *layer.weight) {
      fail("weight '" + Printable(layer.weight->name) +
           "' belongs to another layer too and must be described alike in both");
    }
  }
  std::set<std::string_view> grouped;
  for (const auto& group : plan.shared_groups) {
    for (const std::string& name : group) {
      if (!names.contains(name)) {
        origin.Fail("shared_groups: expected names of layers, found '" + Printable(name) +
                    "', which is none");
      }
      if (!grouped.insert(name).second) {
        origin.Fail("shared_groups: expected each layer once, found '" + Printable(name) +
                    "' twice");
      }
    }
  }
}

}  // namespace

void CheckTensor(const TensorPlan& tensor, const Origin& origin) {
  const bool quantized = tensor.status == TensorStatus::kQuantized;
  if (tensor.bits.has_value() != quantized) {
    origin.Fail("bits must be " + std::string(quantized ? "given" : "none") + " for status '" +
                std::string(NameOf(tensor.status)) + "', found " + Show(ToValue(tensor.bits)));
  }
  if (!tensor.bits) return;
  try {
    static_cast<void>(tensor.Spec().ScaleShape(tensor.shape));
  } catch (const Error& error) {
    origin.FailWhole(error.what());
  }
}

Origin DamagedPlan() {
  return {ErrorCode::kCorruptFile,
          "plan: damaged plan data: ", "; make the plan again, or correct this field"};
}

Plan ReadPlan(const Value& value, const Origin& origin) {
  const Map& map = AsMap(value, origin);
  const Value& version = Require(map, "version", origin);
  if (version.As<std::int64_t>() == nullptr || *version.As<std::int64_t>() != kPlanVersion) {
    throw Error(origin.code, "plan: version " + Show(version) + " is not " +
                                 std::to_string(kPlanVersion) +
                                 ", the one this edgeqat reads; another edgeqat wrote it");
  }
  Plan plan;
  for (const auto& [key, item] : map) {
    if (key == "version" || SetNamed(plan, kPlanFields, key, item, origin)) continue;
    if (key == "recipe") {
      plan.recipe = ReadRecipe(item, origin.Inside("recipe: "));
    } else if (key == "shared_groups") {
      plan.shared_groups = ReadGroups(item, origin);
    } else if (key == "layers") {
      plan.layers = ReadLayers(item, origin);
    } else {
      auto known = FieldNames(kPlanFields);
      known.insert(known.end(), {"version", "recipe", "shared_groups", "layers"});
      FailUnknown(key, known, origin);
    }
  }
  for (const char* key : {"recipe", "target", "layers"}) Require(map, key, origin);
  CheckLayers(plan, origin);
  return plan;
}

}  // namespace internal

Plan ParsePlan(std::string_view json) {
  constexpr internal::JsonLimits kLimits = {.bytes = std::size_t{64} << 20,
                                            .values = std::size_t{1} << 22,
                                            .string_bytes = std::size_t{1} << 20};
  const internal::Origin origin = internal::DamagedPlan();
  const internal::Value value = internal::ParseValue(
      json, kLimits, [&](const std::string& field, const std::string& problem) {
        origin.Fail(field + ": " + problem);
      });
  return internal::ReadPlan(value, origin);
}

}  // namespace edgeqat
