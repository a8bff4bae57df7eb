// SPDX-License-Identifier: Apache-2.0
// What the user wants, independent of any model: bit widths and rules. A plan (plan.h) is a recipe
// resolved on one model.
//
//   edgeqat::Recipe recipe = edgeqat::NamedRecipe("w4a8");
//   recipe.batch_norm = edgeqat::BatchNormMode::kFolded;
//   edgeqat::ValidateRecipe(recipe);
//   edgeqat::ParseRecipe(edgeqat::SerializeRecipe(recipe)) == recipe;  // true
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/enum_names.h"
#include "edgeqat/quant_spec.h"

namespace edgeqat {

// How BatchNorm is trained: with batch statistics; folded into the weights with the running ones;
// with running statistics that stand still.
enum class BatchNormMode : std::uint8_t { kLive, kFolded, kFrozen };

template <>
struct EnumNames<BatchNormMode> {
  static constexpr std::array<std::string_view, 3> kNames = {"live", "folded", "frozen"};
};

// Other widths for the layers whose name matches a glob pattern. Outer optional: whether the recipe
// says anything; inner: nullopt leaves the tensors float.
struct RecipeOverride {
  std::string pattern;
  std::optional<std::optional<int>> weight_bits{};
  std::optional<std::optional<int>> activation_bits{};

  friend bool operator==(const RecipeOverride&, const RecipeOverride&) = default;
};

struct Recipe {
  int weight_bits = 8;
  int activation_bits = 8;
  Granularity weight_granularity = Granularity::kChannel;
  std::optional<std::int64_t> group_size{};  // with kGroup, and only then
  std::optional<bool> narrow_range{};        // of weights; nullopt: at 7 bits and more
  bool symmetric_activations = false;
  std::optional<int> first_last_bits = 8;  // least width of the first and last weighted layer
  int input_bits = 8;
  std::optional<int> output_bits = 8;  // nullopt leaves the model's outputs float
  BatchNormMode batch_norm = BatchNormMode::kLive;
  double averaging = 0.01;    // weight of a new batch in activation ranges, (0, 1]
  bool reduce_range = false;  // 7-bit weights where 8 are asked
  std::vector<RecipeOverride> overrides{};

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

// "int8" (W8A8), "int4" (W4A8) or "w<bits>a<bits>". Errors: kInvalidArgument naming what there is.
[[nodiscard]] Recipe NamedRecipe(std::string_view name);

// A JSON object; keys that are absent keep their default. Limits: 1 MiB of text, nesting 32.
// Errors: kInvalidArgument naming the key, what was expected and what was found; for an unknown key
// the nearest known one.
[[nodiscard]] Recipe ParseRecipe(std::string_view json);

// One line of JSON with every key, in the order above. Validates first.
[[nodiscard]] std::string SerializeRecipe(const Recipe& recipe);

// Throws Error(kInvalidArgument) where a field is out of range or contradicts another one.
void ValidateRecipe(const Recipe& recipe);

}  // namespace edgeqat
