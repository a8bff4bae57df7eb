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

// Where the step of a weight comes from. kMinmax follows its largest magnitude; kLsq and
// kPowerOfTwo are learned (Esser et al. 2020, Jain et al. 2020); kDorefa rounds the weight behind
// tanh with the step 1 / qmax (Zhou et al. 2016); kTernary has three values (Li et al. 2016), for 2
// bits.
enum class WeightRule : std::uint8_t { kMinmax, kLsq, kPowerOfTwo, kDorefa, kTernary };

template <>
struct EnumNames<WeightRule> {
  static constexpr std::array<std::string_view, 5> kNames = {"minmax", "lsq", "power_of_two",
                                                             "dorefa", "ternary"};
};

// Where the step of an activation comes from. kMinmax follows its range by a moving average; kLsq
// and kPowerOfTwo learn the step, kLsqPlus an offset too (Bhalgat et al. 2020), kPact the value at
// which it is clipped (Choi et al. 2018).
enum class ActivationRule : std::uint8_t { kMinmax, kLsq, kLsqPlus, kPowerOfTwo, kPact };

template <>
struct EnumNames<ActivationRule> {
  static constexpr std::array<std::string_view, 5> kNames = {"minmax", "lsq", "lsq+",
                                                             "power_of_two", "pact"};
};

// How learned steps of weights start: with the least squared error, or 2 * mean|w| / sqrt(qmax).
enum class FirstStep : std::uint8_t { kMse, kLsq };

template <>
struct EnumNames<FirstStep> {
  static constexpr std::array<std::string_view, 2> kNames = {"mse", "lsq"};
};

// Other widths for the layers whose name matches a glob pattern. Outer optional: whether the recipe
// says anything; inner: nullopt leaves the tensors float.
struct RecipeOverride {
  std::string pattern;
  std::optional<std::optional<int>> weight_bits{};
  std::optional<std::optional<int>> activation_bits{};
  std::optional<std::optional<int>> input_bits{};  // of a layer that rounds its own input

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
  // Least width of what operators without weights read: residual sums, means, activations.
  std::optional<int> elementwise_bits = 8;
  WeightRule weight_quantizer = WeightRule::kMinmax;
  ActivationRule activation_quantizer = ActivationRule::kMinmax;
  FirstStep first_step = FirstStep::kMse;
  double ewgs = 0.0;  // strength of element-wise gradient scaling of learned steps, [0, 1]
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
