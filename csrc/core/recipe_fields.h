// SPDX-License-Identifier: Apache-2.0
// The fields of Recipe: a new one is a member in recipe.h and a row here (and a line in the Python
// dataclass, which a test compares). An enum brings its names from EnumNames.
#pragma once

#include <tuple>

#include "core/fields.h"
#include "core/quant_spec_fields.h"
#include "edgeqat/recipe.h"

namespace edgeqat::internal {

// In the order of the JSON; `overrides` follows.
inline constexpr auto kRecipeFields = std::tuple{
    Field{"weight_bits", &Recipe::weight_bits, kBits},
    Field{"activation_bits", &Recipe::activation_bits, kBits},
    Field{"weight_granularity", &Recipe::weight_granularity},
    Field{"group_size", &Recipe::group_size, Ints{.least = 1}},
    Field{"narrow_range", &Recipe::narrow_range},
    Field{"symmetric_activations", &Recipe::symmetric_activations},
    Field{"first_last_bits", &Recipe::first_last_bits, kBits},
    Field{"input_bits", &Recipe::input_bits, kBits},
    Field{"output_bits", &Recipe::output_bits, kBits},
    Field{"elementwise_bits", &Recipe::elementwise_bits, kBits},
    Field{"weight_quantizer", &Recipe::weight_quantizer},
    Field{"activation_quantizer", &Recipe::activation_quantizer},
    Field{"first_step", &Recipe::first_step},
    Field{"ewgs", &Recipe::ewgs, Closed{0, 1}},
    Field{"batch_norm", &Recipe::batch_norm},
    Field{"averaging", &Recipe::averaging, HalfOpen{0, 1}},
    Field{"reduce_range", &Recipe::reduce_range},
};

// What an override may change; a key that is absent changes nothing.
inline constexpr auto kOverrideFields = std::tuple{
    Field{"weight_bits", &RecipeOverride::weight_bits, kBits},
    Field{"activation_bits", &RecipeOverride::activation_bits, kBits},
    Field{"input_bits", &RecipeOverride::input_bits, kBits},
};

// Reads and checks; `origin` is "Recipe: " or the place in a plan.
Recipe ReadRecipe(const Value& value, const Origin& origin);

Map RecipeMap(const Recipe& recipe);

}  // namespace edgeqat::internal
