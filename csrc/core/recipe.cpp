// SPDX-License-Identifier: Apache-2.0
// Recipes from plain data and back, and the rules between their fields.
#include "edgeqat/recipe.h"

#include "core/file_check.h"
#include "core/recipe_fields.h"

namespace edgeqat {
namespace internal {
namespace {

// An override says none for "float", and says nothing by leaving a key out: only the inner optional
// takes a none.
void SetOverride(RecipeOverride& change, const Map& map, const Origin& origin) {
  for (const auto& [key, value] : map) {
    const bool known = std::apply(
        [&](const auto&... row) {
          const auto set = [&](const auto& field) {
            if (field.name != key) return false;
            if (!Assign((change.*field.member).emplace(), value, field.rule)) {
              origin.Fail(key + " must be " + Expected<std::optional<int>>(field.rule) +
                          ", found " + Show(value));
            }
            return true;
          };
          return (set(row) || ...);
        },
        kOverrideFields);
    if (!known) FailUnknown(key, FieldNames(kOverrideFields), origin);
  }
}

// A list of (pattern, changes) pairs or a mapping from patterns to changes.
std::vector<RecipeOverride> ReadOverrides(const Value& value, const Origin& origin) {
  std::vector<RecipeOverride> overrides;
  const auto refuse = [&] {
    origin.Fail(
        "overrides must map layer patterns to {weight_bits: ..., activation_bits: ..., "
        "input_bits: ...}, found " +
        Show(value));
  };
  const auto add = [&](const std::string* pattern, const Value& changes) {
    const auto* map = changes.As<Map>();
    if (pattern == nullptr || map == nullptr) refuse();
    overrides.push_back({.pattern = *pattern});
    SetOverride(overrides.back(), *map, origin.Inside("override '" + Printable(*pattern) + "': "));
  };
  if (const auto* map = value.As<Map>()) {
    for (const auto& [pattern, changes] : *map) add(&pattern, changes);
  } else if (const auto* list = value.As<List>()) {
    for (const Value& item : *list) {
      const auto* pair = item.As<List>();
      if (pair == nullptr || pair->size() != 2) refuse();
      add((*pair)[0].As<std::string>(), (*pair)[1]);
    }
  } else {
    refuse();
  }
  return overrides;
}

void CheckTogether(const Recipe& recipe, const Origin& origin) {
  if ((recipe.weight_granularity == Granularity::kGroup) != recipe.group_size.has_value()) {
    origin.Fail("give group_size with weight_granularity='group', and only then");
  }
  if (recipe.batch_norm == BatchNormMode::kLive &&
      recipe.weight_granularity == Granularity::kTensor) {
    origin.Fail(
        "weights with one scale a tensor cannot follow live BatchNorm, whose factor differs from "
        "channel to channel; use batch_norm='folded' or 'frozen', or "
        "weight_granularity='channel'");
  }
}

void CheckRules(const Recipe& recipe, const Origin& origin) {
  if (recipe.weight_quantizer == WeightRule::kTernary && recipe.weight_bits != 2) {
    origin.Fail("weight_quantizer='ternary' has three values, which take weight_bits=2, found " +
                std::to_string(recipe.weight_bits));
  }
  if (recipe.weight_quantizer == WeightRule::kDorefa &&
      recipe.batch_norm == BatchNormMode::kFolded) {
    origin.Fail(
        "weight_quantizer='dorefa' scales every weight to -1..1, which takes the folded gamma / "
        "sigma out again; use batch_norm='live' or 'frozen'");
  }
}

Value OverridesValue(const std::vector<RecipeOverride>& overrides) {
  List list;
  for (const RecipeOverride& change : overrides) {
    Map given;
    std::apply(
        [&](const auto&... row) {
          const auto add = [&](const auto& field) {
            const auto& member = change.*field.member;
            if (member) given.emplace_back(field.name, ToValue(*member));
          };
          (add(row), ...);
        },
        kOverrideFields);
    list.push_back({List{{change.pattern}, {std::move(given)}}});
  }
  return {std::move(list)};
}

}  // namespace

Recipe ReadRecipe(const Value& value, const Origin& origin) {
  const auto* map = value.As<Map>();
  if (map == nullptr) origin.FailWhole("expected a mapping, found " + Show(value));
  Recipe recipe;
  for (const auto& [key, item] : *map) {
    if (key == "overrides") {
      recipe.overrides = ReadOverrides(item, origin);
    } else if (!SetNamed(recipe, kRecipeFields, key, item, origin)) {
      auto known = FieldNames(kRecipeFields);
      known.emplace_back("overrides");
      FailUnknown(key, known, origin);
    }
  }
  CheckTogether(recipe, origin);
  CheckRules(recipe, origin);
  return recipe;
}

Map RecipeMap(const Recipe& recipe) {
  Map map = ToMap(recipe, kRecipeFields);
  map.emplace_back("overrides", OverridesValue(recipe.overrides));
  return map;
}

}  // namespace internal

namespace {

const internal::Origin kOrigin = {ErrorCode::kInvalidArgument, "Recipe: "};

}  // namespace

Recipe NamedRecipe(std::string_view name) {
  const std::string_view text = name == "int8" ? "w8a8" : name == "int4" ? "w4a8" : name;
  const auto bits = [&](std::size_t at) { return text[at] - '0'; };
  const auto valid = [](int width) { return width >= kMinBits && width <= kMaxBits; };
  if (text.size() == 4 && text[0] == 'w' && text[2] == 'a' && valid(bits(1)) && valid(bits(3))) {
    return {.weight_bits = bits(1), .activation_bits = bits(3)};
  }
  throw Error(ErrorCode::kInvalidArgument,
              "plan: unknown recipe '" + internal::Printable(name) +
                  "'; give 'int8', 'int4', 'w4a8' (any widths 2..8), a YAML file or a Recipe");
}

Recipe ParseRecipe(std::string_view json) {
  constexpr internal::JsonLimits kLimits = {.bytes = 1 << 20, .values = 1 << 16};
  const internal::Value value =
      internal::ParseValue(json, kLimits, [](const std::string& field, const std::string& problem) {
        kOrigin.Fail(field + ": " + problem);
      });
  return internal::ReadRecipe(value, kOrigin);
}

std::string SerializeRecipe(const Recipe& recipe) {
  ValidateRecipe(recipe);
  return internal::JsonText({internal::RecipeMap(recipe)});
}

void ValidateRecipe(const Recipe& recipe) {
  static_cast<void>(internal::ReadRecipe({internal::RecipeMap(recipe)}, kOrigin));
}

}  // namespace edgeqat
