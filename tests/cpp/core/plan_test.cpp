// SPDX-License-Identifier: Apache-2.0
// Plan JSON: round trip, edits, targets, limits, golden files, and a corpus of malformed texts with
// the message each gets.
#include "edgeqat/plan.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "core/temp_dir.h"
#include "edgeqat/checkpoint.h"

namespace edgeqat {
namespace {

// Two layers that share a weight, a group, a fused and a float tensor. Cases edit this text.
const std::string kValid =
    R"({"version":1,"recipe":{"weight_bits":4},"target":"onnxruntime","mode":"graph",)"
    R"("dynamic_batch":true,"shared_groups":[["a","b"]],"layers":[)"
    R"({"name":"a","operator":"linear","output":{"name":"a","status":"quantized","bits":8,)"
    R"("granularity":"tensor","shape":[-1,4],"source":"net.py:7","fixed_range":[0.0,1.0]},)"
    R"("weight":{"name":"w","status":"quantized","bits":4,"symmetric":true,)"
    R"("granularity":"group","axis":1,"group_size":2,"narrow_range":true,"shape":[4,4]}},)"
    R"({"name":"b","operator":"linear","output":{"name":"b","status":"quantized","bits":8,)"
    R"("granularity":"tensor","shape":[-1,4]},)"
    R"("weight":{"name":"w","status":"quantized","bits":4,"symmetric":true,)"
    R"("granularity":"group","axis":1,"group_size":2,"narrow_range":true,"shape":[4,4]}},)"
    R"({"name":"c","operator":"relu","output":{"name":"c","status":"fused","bits":null,)"
    R"("granularity":"tensor","shape":[-1,4],"note":"into b"}}]})";

std::string Edit(const std::string& from, const std::string& to, std::string text = kValid) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string Read(const std::string& name) {
  std::ifstream file(std::string(EDGEQAT_GOLDEN) + "/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Plan, ReadsEveryField) {
  const Plan plan = ParsePlan(kValid);
  EXPECT_EQ(plan.recipe, (Recipe{.weight_bits = 4}));
  EXPECT_EQ(plan.mode, PlanMode::kGraph);
  EXPECT_EQ(plan.shared_groups, (std::vector<std::vector<std::string>>{{"a", "b"}}));
  const TensorPlan expected{.name = "w",
                            .status = TensorStatus::kQuantized,
                            .bits = 4,
                            .symmetric = true,
                            .granularity = Granularity::kGroup,
                            .axis = 1,
                            .group_size = 2,
                            .narrow_range = true,
                            .shape = {4, 4}};
  EXPECT_EQ(plan.layers[0].weight, expected);
  EXPECT_EQ(plan.layers[1].weight, expected);
  EXPECT_FALSE(plan.layers[0].output.symmetric);
  EXPECT_EQ(plan.layers[0].output.source, "net.py:7");
  EXPECT_EQ(plan.layers[0].output.fixed_range, (std::array<double, 2>{0.0, 1.0}));
  EXPECT_EQ(plan.layers[2].output.note, "into b");
  EXPECT_FALSE(plan.layers[2].weight);
  EXPECT_EQ(plan.layers[0].weight->Spec().qmin(), -7);
  EXPECT_ERROR(static_cast<void>(plan.layers[2].output.Spec()), ErrorCode::kInvalidArgument,
               "c stays float (into b)");
}

TEST(Plan, SerializesTheTextThatItRead) {
  const std::string full = SerializeRecipe({.weight_bits = 4});
  EXPECT_EQ(SerializePlan(ParsePlan(kValid)), Edit(R"({"weight_bits":4})", full));
}

TEST(Plan, GoldenFiles) {
  const Plan plan = ParsePlan(Read("plan_v1.json"));
  EXPECT_EQ(plan.target, "npu_int8");
  EXPECT_FALSE(plan.dynamic_batch);
  EXPECT_EQ(plan.layers.size(), 5U);
  EXPECT_EQ(ParsePlan(SerializePlan(plan)), plan);
  EXPECT_NO_THROW(CheckPlan(plan, FindTarget(plan.target)));

  const Checkpoint checkpoint =
      LoadCheckpoint(std::string(EDGEQAT_GOLDEN) + "/checkpoint_v1.safetensors");
  const Plan saved = ParsePlan(checkpoint.plan);
  // The recipe has fields now that it did not have then; they take their defaults.
  const auto behind_recipe = [](const std::string& text) {
    return text.substr(text.find("\"target\":"));
  };
  EXPECT_EQ(behind_recipe(SerializePlan(saved)), behind_recipe(checkpoint.plan));
  EXPECT_EQ(saved.recipe.weight_granularity, Granularity::kGroup);
  EXPECT_EQ(saved.recipe.batch_norm, BatchNormMode::kFolded);
  EXPECT_EQ(saved.recipe.output_bits, std::nullopt);
  EXPECT_EQ(saved.recipe.overrides.size(), 2U);
  for (const LayerPlan& layer : saved.layers) {
    if (!layer.weight || !layer.weight->bits) continue;
    EXPECT_EQ(checkpoint.packed.at(layer.weight->name).bits, layer.weight->bits);
  }
}

TEST(Plan, Edits) {
  TensorPlan tensor = *ParsePlan(kValid).layers[0].weight;
  EditTensor(tensor, [](TensorPlan& t) { t.bits = 3; });
  EXPECT_EQ(tensor.bits, 3);
  const TensorPlan before = tensor;
  EXPECT_ERROR(EditTensor(tensor, [](TensorPlan& t) { t.bits = 9; }), ErrorCode::kInvalidArgument,
               "bits must be an integer in 2..8, found 9");
  EXPECT_ERROR(EditTensor(tensor, [](TensorPlan& t) { t.group_size = 3; }),
               ErrorCode::kInvalidArgument, "3 does not divide axis 1 of size 4");
  EXPECT_EQ(tensor, before);
  EditTensor(tensor, [](TensorPlan& t) { t.bits.reset(); });
  EXPECT_EQ(tensor.status, TensorStatus::kFloat);
  EXPECT_FALSE(tensor.note.empty());
  EditTensor(tensor, [](TensorPlan& t) { t.bits = 8; });
  EXPECT_EQ(tensor.status, TensorStatus::kQuantized);
  TensorPlan fused = ParsePlan(kValid).layers[2].output;
  EXPECT_ERROR(EditTensor(fused, [](TensorPlan& t) { t.bits = 8; }), ErrorCode::kInvalidArgument,
               "c is fused (into b); edit that tensor instead");
}

TEST(Plan, OnATarget) {
  const Plan plan = ParsePlan(kValid);
  EXPECT_NO_THROW(CheckPlan(plan, FindTarget("onnxruntime")));
  EXPECT_ERROR(CheckPlan(plan, FindTarget("npu_int8")), ErrorCode::kInvalidArgument,
               "target 'npu_int8' has no int4 for w; it has [8] bits");
  EXPECT_ERROR(CheckPlan(plan, {.name = "t", .granularities = {Granularity::kTensor}}),
               ErrorCode::kInvalidArgument, "target 't' has no scales per group for w");
  EXPECT_ERROR(CheckPlan(plan, {.name = "t", .activation_bits = {4}}), ErrorCode::kInvalidArgument,
               "target 't' has no int8 for a; it has [4] bits");
}

TEST(Plan, Refuses) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {R"("version":1)", R"("version":99)", "version 99 is not 1"},
      {R"("version":1)", R"("version":"1")", "version '1' is not 1"},
      {R"("version":1,)", "", "version must be given"},
      {R"("target":"onnxruntime",)", "", "target must be given"},
      {R"("target":"onnxruntime")", R"("target":"")", "target must be a name of 1 to"},
      {R"("mode":"graph")", R"("mode":"fx")", "mode must be 'graph' or 'module', found 'fx'"},
      {R"("mode")", R"("mod")", "unknown key 'mod'; did you mean 'mode'?"},
      {R"("dynamic_batch":true)", R"("dynamic_batch":1)", "dynamic_batch must be true or false"},
      {R"("weight_bits":4)", R"("weight_bits":0)", "recipe: weight_bits must be an integer"},
      {R"({"weight_bits":4})", "[]", "recipe: expected a mapping"},
      {R"([["a","b"]])", R"([["a","x"]])", "found 'x', which is none"},
      {R"([["a","b"]])", R"([["a","b"],["b","c"]])", "found 'b' twice"},
      {R"([["a","b"]])", R"([["a"]])", "lists of at least two layer names"},
      {R"([["a","b"]])", R"([["a",1]])", "lists of at least two layer names"},
      {R"([["a","b"]])", "3", "shared_groups must be a list"},
      {R"({"name":"b")", R"({"name":"a")", "layer 'a': expected each layer once"},
      {R"({"name":"a","op)", R"({"name":"","op)", "layers[0].name must be a name"},
      {R"("operator":"relu",)", "", "layers[2].operator must be given"},
      {R"("operator":"relu")", R"("operator":null)", "layers[2].operator must be a name"},
      {R"("operator":"relu")", R"("kind":"relu")", "layers[2]: unknown key 'kind'"},
      {R"("weight":{)", R"("weight":[],"x":{)", "layers[0]: unknown key 'x'"},
      {R"("status":"fused")", R"("status":"fuse")", "layers[2].output.status must be 'quantized'"},
      {R"("status":"fused",)", "", "layers[2].output.status must be given"},
      {R"("status":"fused")", R"("status":"quantized")", "bits must be given for status"},
      {R"("bits":null)", R"("bits":8)", "bits must be none for status 'fused', found 8"},
      {R"("bits":8)", R"("bits":1)", "layers[0].output.bits must be none or an integer in 2..8"},
      {R"("bits":8)", R"("bits":8.0)", "found 8.0"},
      {R"("axis":1)", R"("axis":2)", "layers[0].weight: QuantSpec: axis must be in"},
      {R"("axis":1,)", "", "axis none contradict"},
      {R"("group_size":2)", R"("group_size":3)", "3 does not divide axis 1"},
      {R"("group_size":2)", R"("group_size":-9223372036854775808)", "at least 1"},
      {R"("narrow_range":true)", R"("narrow_range":0)", "narrow_range must be true or false"},
      {R"("shape":[4,4])", R"("shape":[4,-2])", "shape must be a list of 64 or fewer"},
      {R"("shape":[4,4])", R"("shape":[4,9223372036854775808])", "shape must be a list"},
      {R"("shape":[4,4])", R"("shape":{})", "shape must be a list"},
      {R"([0.0,1.0])", "[1,0]", "fixed_range must be none or two finite numbers"},
      {R"([0.0,1.0])", "[0]", "fixed_range must be none or two"},
      {R"("source":"net.py:7")", R"("source":7)", "source must be text, found 7"},
      {R"("note":"into b")", R"("notes":"into b")", "did you mean 'note'?"},
      {R"("bits":4)", R"("bits":3)", "weight 'w' belongs to another layer too"},
      {R"("mode":"graph")", R"("mode":"graph","mode":"graph")", "every key of an object once"},
  };
  for (const auto& [from, to, message] : cases) {
    EXPECT_ERROR(static_cast<void>(ParsePlan(Edit(from, to))), ErrorCode::kCorruptFile, message);
  }
}

TEST(Plan, EveryTruncationIsRefused) {
  for (std::size_t size = 0; size < kValid.size(); ++size)
    EXPECT_THROW(static_cast<void>(ParsePlan(kValid.substr(0, size))), Error) << size;
}

TEST(Plan, HostileTexts) {
  const auto refuses = [](const std::string& text, const char* message) {
    EXPECT_ERROR(static_cast<void>(ParsePlan(text)), ErrorCode::kCorruptFile, message);
  };
  refuses(Edit("[-1,4]", std::string(1'000'000, '[')), "nesting of at most 32");
  std::string many = "0";
  for (int i = 0; i < 1 << 16; ++i) many += ",0";
  refuses(Edit("[-1,4]", "[" + many + "]"), "shape must be a list of 64 or fewer");
  refuses(R"({"version":1,"layers":[)" + many + "]}", "at most 65536 entries, found 65537");
  std::string values = "0";
  for (int i = 0; i < 1 << 22; ++i) values += ",0";
  refuses(R"({"version":1,"layers":[)" + values + "]}", "at most 4194304 JSON values");
  refuses(Edit(R"({"name":"a","op)", R"({"name":")" + std::string(1 << 17, 'n') + R"(","op)"),
          "a name of 1 to 65536 bytes");
  refuses(Edit("into b", std::string((1 << 20) + 1, 'n')), "1048576 bytes");
  refuses(Edit("into b", "\xff"), "valid JSON");
  refuses(std::string("\0", 1), "valid JSON");
}

TEST(Plan, RefusesWhatWasBuiltWrongByHand) {
  Plan plan = ParsePlan(kValid);
  plan.layers[0].weight->bits = 3;
  EXPECT_ERROR(ValidatePlan(plan), ErrorCode::kInvalidArgument, "described alike");
  plan = ParsePlan(kValid);
  plan.layers[0].output.status = static_cast<TensorStatus>(9);
  EXPECT_ERROR(static_cast<void>(SerializePlan(plan)), ErrorCode::kInvalidArgument,
               "status must be");
  EXPECT_NO_THROW(ValidatePlan({}));
}

}  // namespace
}  // namespace edgeqat
