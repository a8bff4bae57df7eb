// SPDX-License-Identifier: Apache-2.0
// Recipes: names, round trip, and a corpus of wrong texts with the message each gets.
#include "edgeqat/recipe.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/temp_dir.h"

namespace edgeqat {
namespace {

Recipe Full() {
  return {.weight_bits = 3,
          .activation_bits = 6,
          .weight_granularity = Granularity::kGroup,
          .group_size = 32,
          .narrow_range = true,
          .symmetric_activations = true,
          .first_last_bits = std::nullopt,
          .input_bits = 7,
          .output_bits = std::nullopt,
          .batch_norm = BatchNormMode::kFrozen,
          .averaging = 0.125,
          .reduce_range = true,
          .overrides = {{"layer1.*", 4, std::nullopt}, {"fc", std::nullopt, std::optional<int>()}}};
}

TEST(Recipe, TextOfEveryField) {
  const std::string text = SerializeRecipe(Full());
  for (const char* member :
       {R"({"weight_bits":3,)", R"("activation_bits":6,)", R"("weight_granularity":"group",)",
        R"("group_size":32,)", R"("narrow_range":true,)", R"("symmetric_activations":true,)",
        R"("first_last_bits":null,)", R"("input_bits":7,)", R"("output_bits":null,)",
        R"("batch_norm":"frozen",)", R"("averaging":0.125,)", R"("reduce_range":true,)",
        R"("overrides":[["layer1.*",{"weight_bits":4}],["fc",{"activation_bits":null}]]})"}) {
    EXPECT_NE(text.find(member), std::string::npos) << member;
  }
  EXPECT_EQ(ParseRecipe(text), Full());
  EXPECT_EQ(ParseRecipe("{}"), Recipe{});
  EXPECT_EQ(ParseRecipe(SerializeRecipe({})), Recipe{});
}

TEST(Recipe, OverridesAsAMapping) {
  const Recipe recipe = ParseRecipe(R"({"overrides": {"fc": {"weight_bits": null}}})");
  ASSERT_EQ(recipe.overrides.size(), 1U);
  EXPECT_TRUE(recipe.overrides[0].weight_bits.has_value());
  EXPECT_EQ(*recipe.overrides[0].weight_bits, std::nullopt);
  EXPECT_FALSE(recipe.overrides[0].activation_bits.has_value());
}

TEST(Recipe, Named) {
  EXPECT_EQ(NamedRecipe("int8"), Recipe{});
  EXPECT_EQ(NamedRecipe("int4"), NamedRecipe("w4a8"));
  EXPECT_EQ(NamedRecipe("w2a3").activation_bits, 3);
  for (const char* name : {"", "w9a8", "w1a8", "w4a8x", "W4a8", "w4", "wxay"}) {
    EXPECT_ERROR(static_cast<void>(NamedRecipe(name)), ErrorCode::kInvalidArgument,
                 "unknown recipe");
  }
}

TEST(Recipe, Refuses) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"weight_bit": 4})", "unknown key 'weight_bit'; did you mean 'weight_bits'?"},
      {R"({"colour": 4})", "unknown key 'colour'; known keys: weight_bits, "},
      {R"({"weight_bits": 4.5})", "weight_bits must be an integer in 2..8, found 4.5"},
      {R"({"weight_bits": 4.0})", "found 4.0"},
      {R"({"weight_bits": null})", "weight_bits must be an integer in 2..8, found none"},
      {R"({"weight_bits": true})", "found true"},
      {R"({"weight_bits": 99999999999999999999})", "found 1e+20"},
      {R"({"weight_bits": 18446744073709551615})", "found 18446744073709551615"},
      {R"({"output_bits": 1})", "output_bits must be none or an integer in 2..8, found 1"},
      {R"({"reduce_range": 1})", "reduce_range must be true or false, found 1"},
      {R"({"batch_norm": "fold"})", "must be 'live', 'folded' or 'frozen', found 'fold'"},
      {R"({"weight_granularity": "group"})", "give group_size with weight_granularity='group'"},
      {R"({"group_size": 4})", "give group_size"},
      {R"({"weight_granularity": "tensor"})", "cannot follow live BatchNorm"},
      {R"({"weight_quantizer": "dorefa", "batch_norm": "folded"})", "takes the folded gamma"},
      {R"({"averaging": 0})", "averaging must be in (0, 1], found 0"},
      {R"({"averaging": 1.5})", "found 1.5"},
      {R"({"averaging": "0.5"})", "found '0.5'"},
      {R"({"overrides": 3})", "overrides must map layer patterns to"},
      {R"({"overrides": [["a"]]})", "overrides must map"},
      {R"({"overrides": [[1, {}]]})", "overrides must map"},
      {R"({"overrides": {"a": 4}})", "overrides must map"},
      {R"({"overrides": {"a": {"bits": 4}}})", "override 'a': unknown key 'bits'"},
      {R"({"overrides": {"a": {"weight_bits": 9}}})",
       "override 'a': weight_bits must be none or an integer in 2..8, found 9"},
      {R"({"input_bits": 8, "input_bits": 4})", "input_bits: expected every key"},
      {"[]", "expected a mapping, found a list"},
      {"{", "expected valid JSON"},
      {"", "expected valid JSON"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_ERROR(static_cast<void>(ParseRecipe(text)), ErrorCode::kInvalidArgument, message);
}

TEST(Recipe, LimitsOfTheText) {
  const std::string deep = R"({"overrides": )" + std::string(100'000, '[');
  EXPECT_ERROR(static_cast<void>(ParseRecipe(deep)), ErrorCode::kInvalidArgument, "32 levels");
  const std::string large = "{" + std::string(1 << 20, ' ') + "}";
  EXPECT_ERROR(static_cast<void>(ParseRecipe(large)), ErrorCode::kInvalidArgument, "1048576 bytes");
  std::string many = R"({"overrides": [0)";
  for (int i = 0; i < 1 << 16; ++i) many += ",0";
  EXPECT_ERROR(static_cast<void>(ParseRecipe(many + "]}")), ErrorCode::kInvalidArgument,
               "at most 65536 JSON values");
}

TEST(Recipe, RefusesWhatWasBuiltWrongByHand) {
  EXPECT_ERROR(ValidateRecipe({.weight_bits = 99}), ErrorCode::kInvalidArgument, "found 99");
  EXPECT_ERROR(ValidateRecipe({.averaging = std::numeric_limits<double>::quiet_NaN()}),
               ErrorCode::kInvalidArgument, "found nan");
  EXPECT_ERROR(static_cast<void>(SerializeRecipe({.overrides = {{"\xff", 4, {}}}})),
               ErrorCode::kInvalidArgument, "UTF-8");
}

}  // namespace
}  // namespace edgeqat
