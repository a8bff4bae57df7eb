// SPDX-License-Identifier: Apache-2.0
// Graph JSON: round trip, defaults, limits, and a corpus of malformed texts with the message each
// gets.
#include "edgeqat/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace edgeqat {
namespace {

// One conv with everything a node can have, and a mean behind it. Cases edit this text.
const std::string kValid = R"({"format":"edgeqat.graph","version":1,"inputs":["x"],"outputs":["m"],
"tensors":{
"x":{"shape":[-1,3,8,8],"dtype":"int8","constant":false,"quant":{"bits":8,"qmin":-128,"qmax":127,"axis":null,"group_size":null,"scale":"s","zero_point":"z"}},
"w":{"shape":[4,3,3,3],"dtype":"int8","constant":true,"quant":{"bits":4,"qmin":-8,"qmax":7,"axis":0,"group_size":null,"scale":"ws","zero_point":"wz"}},
"b":{"shape":[4],"dtype":"float32","constant":true,"quant":null},
"s":{"shape":[1],"dtype":"float32","constant":true,"quant":null},
"z":{"shape":[1],"dtype":"int32","constant":true,"quant":null},
"ws":{"shape":[4],"dtype":"float32","constant":true,"quant":null},
"wz":{"shape":[4],"dtype":"int32","constant":true,"quant":null},
"y":{"shape":[-1,4,8,8],"dtype":"float32","constant":false,"quant":null},
"m":{"shape":[-1,4],"dtype":"float32","constant":false,"quant":null}},
"nodes":[
{"name":"conv1","op":"conv","inputs":["x","w","b"],"outputs":["y"],"attributes":{"stride":[1,1],"padding":[1,1,1,1],"dilation":[1,1],"groups":1},"activation":{"kind":"clamp","min":0,"max":6.0},"source":"net.py:7"},
{"name":"mean1","op":"mean","inputs":["y"],"outputs":["m"],"attributes":{"axes":[2,3],"keepdim":false},"activation":null,"source":"net.py:8"}]})";

std::string Edit(const std::string& from, const std::string& to, std::string text = kValid) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string MessageOf(const std::string& text) {
  try {
    static_cast<void>(ParseGraph(text));
  } catch (const GraphError& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
    EXPECT_TRUE(std::string(error.what()).starts_with("graph: "));
    return error.what();
  }
  return "accepted";
}

// A stride, a dilation and two paddings for every spatial dimension; kValid has two.
TEST(Graph, ConvolutionsHaveOneToThreeSpatialDimensions) {
  const std::string volume =
      Edit("\"x\":{\"shape\":[-1,3,8,8]", "\"x\":{\"shape\":[-1,3,8,8,8]",
           Edit("\"w\":{\"shape\":[4,3,3,3]", "\"w\":{\"shape\":[4,3,3,3,3]",
                Edit("\"y\":{\"shape\":[-1,4,8,8]", "\"y\":{\"shape\":[-1,4,8,8,8]",
                     Edit("\"axes\":[2,3]", "\"axes\":[2,3,4]"))));
  EXPECT_NE(MessageOf(volume).find("attributes.stride: expected 3 integers"), std::string::npos);
  const std::string whole =
      Edit("\"stride\":[1,1],\"padding\":[1,1,1,1],\"dilation\":[1,1]",
           "\"stride\":[1,1,1],\"padding\":[1,1,1,1,1,1],\"dilation\":[1,1,1]", volume);
  EXPECT_EQ(MessageOf(whole), "accepted");
}

TEST(Graph, ReadsEveryField) {
  const Graph graph = ParseGraph(kValid);
  const Node& conv = graph.nodes.at(0);
  EXPECT_EQ(conv.source, "net.py:7");
  EXPECT_EQ(GetAttribute<std::vector<std::int64_t>>(conv, "padding").size(), 4U);
  EXPECT_EQ(conv.activation->max, 6.0);
  EXPECT_EQ(conv.activation->min, 0.0);
  const TensorInfo& weight = graph.tensors.at("w");
  EXPECT_EQ(weight.quant->axis, 0);
  EXPECT_EQ(weight.quant->bits, 4);
  EXPECT_EQ(weight.dtype, DType::kInt8);
  EXPECT_FALSE(graph.tensors.at("b").quant);
  EXPECT_THROW(static_cast<void>(GetAttribute<double>(conv, "groups")), GraphError);
  EXPECT_THROW(static_cast<void>(GetAttribute<double>(conv, "eps")), GraphError);
}

TEST(Graph, SerializesTheSameBytesForEqualGraphs) {
  const Graph graph = ParseGraph(kValid);
  const std::string text = SerializeGraph(graph);
  EXPECT_EQ(ParseGraph(text), graph);
  EXPECT_EQ(SerializeGraph(ParseGraph(text)), text);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  EXPECT_LT(text.find("\"format\""), text.find("\"inputs\""));  // keys are sorted
}

TEST(Graph, FillsInDefaultsAndTakesIntegersForFloats) {
  const std::string text = Edit(
      R"("op":"mean","inputs":["y"],"outputs":["m"],"attributes":{"axes":[2,3],"keepdim":false})",
      R"("op":"clamp","inputs":["y"],"outputs":["m"],"attributes":{"max":6})");
  const Graph graph = ParseGraph(Edit(R"("shape":[-1,4])", R"("shape":[-1,4,8,8])", text));
  EXPECT_EQ(graph.nodes[1].attributes.at("max"), Attribute(6.0));
  EXPECT_EQ(graph.nodes[1].attributes.at("min"), Attribute(std::monostate{}));
}

TEST(Graph, KeepsAtenOpsWithAnyAttributes) {
  const Graph graph = ParseGraph(Edit(
      R"("op":"mean","inputs":["y"],"outputs":["m"],"attributes":{"axes":[2,3],"keepdim":false})",
      R"("op":"aten.fft","inputs":["y",null],"outputs":["m"],"attributes":{"a":null,"b":true,"c":-1,"d":0.5,"e":"t","f":[1,2],"g":[1,2.5],"h":["u"],"i":[]})"));
  EXPECT_FALSE(IsExecutable(graph.nodes[1]));
  EXPECT_TRUE(IsExecutable(graph.nodes[0]));
  EXPECT_EQ(graph.nodes[1].inputs[1], "");
  EXPECT_EQ(graph.nodes[1].attributes.at("g"), Attribute(std::vector<double>{1.0, 2.5}));
  EXPECT_EQ(ParseGraph(SerializeGraph(graph)), graph);
}

TEST(Graph, RefusesWhatWasBuiltWrongByHand) {
  Graph graph = ParseGraph(kValid);
  graph.nodes[0].attributes.erase("groups");
  EXPECT_THROW(ValidateGraph(graph), GraphError);
  graph = ParseGraph(kValid);
  graph.nodes[1].name = "\xff";
  EXPECT_THROW(static_cast<void>(SerializeGraph(graph)), GraphError);  // not UTF-8
  graph = ParseGraph(kValid);
  graph.tensors["y"].quant = QuantParams{};
  EXPECT_THROW(ValidateGraph(graph), GraphError);  // float32 with quant
}

TEST(Graph, EveryTruncationIsRefused) {
  for (std::size_t size = 0; size < kValid.size(); ++size) {
    EXPECT_NE(MessageOf(kValid.substr(0, size)), "accepted") << size;
  }
}

TEST(Graph, ErrorsKnowNodeAndField) {
  try {
    static_cast<void>(ParseGraph(Edit(R"("groups":1)", R"("groups":"1")")));
    FAIL();
  } catch (const GraphError& error) {
    EXPECT_EQ(error.node(), "conv1");
    EXPECT_EQ(error.field(), "nodes[0].attributes.groups");
    EXPECT_STREQ(error.what(),
                 "graph: node \"conv1\": nodes[0].attributes.groups: expected an integer, found "
                 "another type; "
                 "lower the model again, or correct this field");
  }
}

TEST(GraphLimits, HoldForHostileTexts) {
  EXPECT_NE(
      MessageOf(std::string(100'000'001, ' ')).find("at most 100000000 bytes, found 100000001"),
      std::string::npos);
  EXPECT_NE(MessageOf(std::string(1'000'000, '[')).find("nesting of at most 32 levels"),
            std::string::npos);
  std::string objects;
  for (int i = 0; i < 40; ++i) objects += "{\"a\":";
  EXPECT_NE(MessageOf(objects).find("nesting of at most 32 levels"), std::string::npos);
  const std::string name(64 * 1024 + 1, 'n');
  EXPECT_NE(MessageOf("{\"" + name + "\":1}").find("at most 65536 bytes, found 65537"),
            std::string::npos);
  EXPECT_NE(MessageOf("{\"a\":\"" + name + "\"}").find("at most 65536 bytes"), std::string::npos);
  EXPECT_LT(MessageOf("{\"a\":\"" + name + "\"}").size(),
            400U);  // a message quotes, it does not copy
  std::string many =
      R"({"format":"edgeqat.graph","version":1,"outputs":[],"tensors":{},"nodes":[],"inputs":[)";
  for (int i = 0; i < (1 << 20); ++i) many += "\"x\",";
  EXPECT_NE(MessageOf(many + "\"x\"]}").find("at most 1048576 entries, found 1048577"),
            std::string::npos);
}

struct Malformed {
  const char* name;
  const char* from;
  const char* to;
  const char* message;  // a part of the message
};

class GraphMalformed : public testing::TestWithParam<Malformed> {};

TEST_P(GraphMalformed, IsRefusedWithItsReason) {
  const std::string message = MessageOf(Edit(GetParam().from, GetParam().to));
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

#define CONV_ATTRIBUTES \
  "\"attributes\":{\"stride\":[1,1],\"padding\":[1,1,1,1],\"dilation\":[1,1],\"groups\":1}"
#define MEAN                                                                               \
  "\"op\":\"mean\",\"inputs\":[\"y\"],\"outputs\":[\"m\"],\"attributes\":{\"axes\":[2,3]," \
  "\"keepdim\":false}"

INSTANTIATE_TEST_SUITE_P(
    Corpus, GraphMalformed,
    testing::ValuesIn(std::vector<Malformed>{
        // syntax and types of JSON
        {"Garbage", "{\"format\"", "x{\"format\"", "text: expected valid JSON"},
        {"Trailing", "net.py:8\"}]}", "net.py:8\"}]}]", "text: expected valid JSON"},
        {"Utf8", "net.py:7", "\xff", "text: expected valid JSON"},
        {"NanLiteral", "\"max\":6.0", "\"max\":NaN", "text: expected valid JSON"},
        {"HugeNumber", "\"max\":6.0", "\"max\":1e999", "text: expected valid JSON"},
        {"DuplicateTensor", "\"b\":{\"shape\":[4]", "\"w\":{\"shape\":[4]",
         "w: expected every key of an object once"},
        {"DuplicateField", "\"version\":1", "\"version\":1,\"version\":1",
         "version: expected every key"},
        {"NotAnObject", kValid.c_str(), "[]", "text: expected an object, found array"},
        // header
        {"Format", "edgeqat.graph", "onnx", "format: expected \"edgeqat.graph\", found \"onnx\""},
        {"Version", "\"version\":1", "\"version\":2",
         "version: expected 1, found 2; another edgeqat wrote it"},
        {"VersionType", "\"version\":1", "\"version\":1.0",
         "version: expected a 64-bit integer, found 1.0"},
        {"FieldMissing", ",\"source\":\"net.py:7\"", "",
         "nodes[0].source: expected this field, found none"},
        {"FieldMisspelled", "\"nodes\":[", "\"node\":[", "node: expected no such field"},
        {"UnknownField", "\"version\":1", "\"version\":1,\"colour\":2",
         "colour: expected no such field"},
        {"InputsString", "\"inputs\":[\"x\"],\"outputs\":[\"m\"],\n",
         "\"inputs\":\"x\",\"outputs\":[\"m\"],\n", "inputs: expected a list, found \"x\""},
        {"InputsNull", "\"inputs\":[\"x\"],\"outputs\":[\"m\"],\n",
         "\"inputs\":[null],\"outputs\":[\"m\"],\n",
         "inputs[0]: expected a tensor name, found null"},
        // tensors
        {"TensorNumber",
         "\"b\":{\"shape\":[4],\"dtype\":\"float32\",\"constant\":true,\"quant\":null}", "\"b\":7",
         "tensors.b: expected an object, found number"},
        {"DType", "\"b\":{\"shape\":[4],\"dtype\":\"float32\"",
         "\"b\":{\"shape\":[4],\"dtype\":\"float64\"",
         "tensors.b.dtype: expected float32, int8, uint8, int32, int64 or bool, found \"float64\""},
        {"Float16", "\"b\":{\"shape\":[4],\"dtype\":\"float32\"",
         "\"b\":{\"shape\":[4],\"dtype\":\"float16\"", "tensors.b.dtype: expected float32"},
        {"Extent", "\"b\":{\"shape\":[4]", "\"b\":{\"shape\":[4.5]",
         "tensors.b.shape: expected a list of integers"},
        {"ExtentNegative", "\"x\":{\"shape\":[-1,", "\"x\":{\"shape\":[-2,",
         "expected extents >= 0 or -1 (dynamic)"},
        {"ExtentBig", "\"b\":{\"shape\":[4]", "\"b\":{\"shape\":[18446744073709551615]",
         "expected a list of integers"},
        {"Bytes", "\"b\":{\"shape\":[4]", "\"b\":{\"shape\":[4611686018427387904]",
         "expected fewer than 2^63 bytes"},
        {"DynamicConstant", "\"b\":{\"shape\":[4]", "\"b\":{\"shape\":[-1]",
         "tensors.b.shape: expected extents >= 0, found [-1]"},
        {"Dimensions", "\"b\":{\"shape\":[4]", "\"b\":{\"shape\":[1,1,1,1,1,1,1,1,4]",
         "at most 8 entries, found 9"},
        {"ConstantType", "\"b\":{\"shape\":[4],\"dtype\":\"float32\",\"constant\":true",
         "\"b\":{\"shape\":[4],\"dtype\":\"float32\",\"constant\":1",
         "tensors.b.constant: expected true or false, found 1"},
        {"Unused", "\"b\":{",
         "\"ghost\":{\"shape\":[],\"dtype\":\"bool\",\"constant\":false,\"quant\":null},\"b\":{",
         "tensors.ghost: expected a constant, an input or the output of a node"},
        // quantization parameters
        {"QuantString", "\"quant\":{\"bits\":4", "\"quant\":\"int4\",\"q\":{\"bits\":4",
         "tensors.w.q: expected no such field"},
        {"Bits", "\"bits\":4", "\"bits\":9", "tensors.w.quant.bits: expected 1 to 8, found 9"},
        {"CodesForBits", "\"qmin\":-8,\"qmax\":7", "\"qmin\":-8,\"qmax\":8",
         "at most 2^bits codes, found bits 4, qmin -8, qmax 8"},
        {"Empty", "\"qmin\":-8,\"qmax\":7", "\"qmin\":7,\"qmax\":7",
         "tensors.w.dtype: expected uint8 for codes from 7"},
        {"Wide", "\"qmin\":-128,\"qmax\":127", "\"qmin\":-129,\"qmax\":126",
         "qmin < qmax inside int8 or uint8"},
        {"QuantDType", "\"w\":{\"shape\":[4,3,3,3],\"dtype\":\"int8\"",
         "\"w\":{\"shape\":[4,3,3,3],\"dtype\":\"uint8\"",
         "tensors.w.dtype: expected int8 for codes from -8, found uint8"},
        {"ScaleMissing", "\"scale\":\"ws\"", "\"scale\":\"nowhere\"",
         "expected the name of a constant, found \"nowhere\", which is not in tensors"},
        {"ScaleComputed", "\"scale\":\"ws\"", "\"scale\":\"y\"", "found \"y\", which is computed"},
        {"ScaleShape", "\"scale\":\"ws\"", "\"scale\":\"s\"",
         "tensors.w.quant.scale: expected float32 of shape [4], found float32 of shape [1]"},
        {"ScaleDType", "\"scale\":\"ws\"", "\"scale\":\"wz\"",
         "expected float32 of shape [4], found int32"},
        {"ZeroPointDType", "\"zero_point\":\"wz\"", "\"zero_point\":\"ws\"",
         "tensors.w.quant.zero_point: expected int32"},
        {"Axis", "\"axis\":0", "\"axis\":4",
         "tensors.w.quant.axis: expected the axis of a known extent"},
        {"NegativeAxis", "\"axis\":0", "\"axis\":-1", "tensors.w.quant.axis"},
        {"DynamicAxis", "\"qmax\":127,\"axis\":null", "\"qmax\":127,\"axis\":0",
         "tensors.x.quant.axis"},
        {"GroupSize", "\"axis\":0,\"group_size\":null", "\"axis\":0,\"group_size\":3",
         "group_size: expected a divisor"},
        {"GroupZero", "\"axis\":0,\"group_size\":null", "\"axis\":0,\"group_size\":0",
         "group_size: expected a divisor"},
        {"GroupWithoutAxis", "\"axis\":0,\"group_size\":null", "\"axis\":null,\"group_size\":2",
         "group_size: expected a divisor"},
        // names and order
        {"UnknownInput", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"q\",\"w\",\"b\"]",
         "node \"conv1\": nodes[0].inputs[0]: expected a name in tensors, found \"q\""},
        {"BeforeDefined", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"m\",\"w\",\"b\"]",
         "sort the nodes topologically"},
        {"TwoProducers", MEAN,
         "\"op\":\"relu\",\"inputs\":[\"y\"],\"outputs\":[\"y\"],\"attributes\":{}",
         "nodes[1].outputs[0]: expected one producer for every tensor"},
        {"WritesInput", "\"outputs\":[\"y\"]", "\"outputs\":[\"x\"]", "node \"conv1\""},
        {"WritesConstant", "\"outputs\":[\"m\"],\"attributes\"",
         "\"outputs\":[\"b\"],\"attributes\"", "node \"mean1\""},
        {"InputTwice", "\"inputs\":[\"x\"],\"outputs\":[\"m\"],\n",
         "\"inputs\":[\"x\",\"x\"],\"outputs\":[\"m\"],\n", "inputs[1]: expected one producer"},
        {"InputConstant", "\"inputs\":[\"x\"],\"outputs\":[\"m\"],\n",
         "\"inputs\":[\"x\",\"b\"],\"outputs\":[\"m\"],\n",
         "inputs[1]: expected a tensor that is computed, found the constant \"b\""},
        {"UnknownOutput", "\"outputs\":[\"m\"],\n", "\"outputs\":[\"q\"],\n",
         "outputs[0]: expected a name in tensors"},
        {"NodeNameTwice", "\"name\":\"mean1\"", "\"name\":\"conv1\"",
         "nodes[1].name: expected a name of its own"},
        {"NodeNameEmpty", "\"name\":\"mean1\"", "\"name\":\"\"",
         "nodes[1].name: expected a name of 1 to 65536 bytes"},
        // ops and attributes
        {"UnknownOp", "\"op\":\"mean\"", "\"op\":\"fft\"",
         "expected a known op or \"aten.<name>\", found \"fft\""},
        {"BareAten", "\"op\":\"mean\"", "\"op\":\"aten.\"", "expected a known op"},
        {"TooFewInputs", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"x\"]",
         "expected 2 to 3 inputs of conv, found 1"},
        {"NullRequired", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"x\",null,\"b\"]",
         "inputs[1]: expected a tensor name, found null"},
        {"NoOutputs", "\"outputs\":[\"y\"]", "\"outputs\":[]", "expected at least one output"},
        {"AttributesList", CONV_ATTRIBUTES, "\"attributes\":[]",
         "nodes[0].attributes: expected an object"},
        {"AttributeMissing", ",\"groups\":1", "",
         "attributes.groups: expected an integer, found none"},
        {"AttributeUnknown", "\"groups\":1", "\"groups\":1,\"paddings\":[0]",
         "attributes.paddings: expected no such attribute of conv"},
        {"AttributeObject", "\"groups\":1", "\"groups\":{}",
         "attributes.groups: expected null, a boolean"},
        {"AttributeMixed", "\"stride\":[1,1]", "\"stride\":[1,\"1\"]",
         "attributes.stride: expected null, a boolean"},
        {"Stride", "\"stride\":[1,1]", "\"stride\":[0,1]",
         "expected 2 integers of 1 to 2^31-1, found [0, 1]"},
        {"PaddingCount", "\"padding\":[1,1,1,1]", "\"padding\":[1,1]",
         "attributes.padding: expected 4 integers"},
        {"Groups", "\"groups\":1", "\"groups\":0", "attributes.groups: expected at least 1"},
        {"Axes", "\"axes\":[2,3]", "\"axes\":[2,4]",
         "attributes.axes: expected an axis from 0 to 3, found 4"},
        {"AxesTwice", "\"axes\":[2,3]", "\"axes\":[2,2]", "each once, found [2, 2]"},
        {"Keepdim", "\"keepdim\":false", "\"keepdim\":true",
         "nodes[1].outputs[0]: expected rank 4 in mean, found rank 2"},
        {"WeightRank", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"x\",\"b\",\"b\"]",
         "inputs[1]: expected rank 4 in conv, found rank 1"},
        {"ImageOfNoDimension", "\"x\":{\"shape\":[-1,3,8,8]", "\"x\":{\"shape\":[-1,3]",
         "inputs[0]: expected rank 3 to 5, found rank 2"},
        {"ImageOfFourDimensions", "\"x\":{\"shape\":[-1,3,8,8]", "\"x\":{\"shape\":[-1,3,8,8,8,8]",
         "inputs[0]: expected rank 3 to 5, found rank 6"},
        {"PoolOfNoDimension", MEAN,
         "\"op\":\"adaptive_avg_pool\",\"inputs\":[\"b\"],\"outputs\":[\"m\"],\"attributes\":{"
         "\"output_size\":[1]}",
         "inputs[0]: expected rank 3 to 5, found rank 1"},
        {"BiasDType", "\"inputs\":[\"x\",\"w\",\"b\"]", "\"inputs\":[\"w\",\"w\",\"s\",\"b\"]",
         "expected 2 to 3 inputs"},
        {"OperandDType", MEAN,
         "\"op\":\"relu\",\"inputs\":[\"wz\"],\"outputs\":[\"m\"],\"attributes\":{}",
         "inputs[0]: expected float32 or a tensor with quant, found int32"},
        {"QuantizeToFloat", MEAN,
         "\"op\":\"quantize\",\"inputs\":[\"x\"],\"outputs\":[\"m\"],\"attributes\":{}",
         "expected a tensor with quant out of quantize"},
        {"Permutation", MEAN,
         "\"op\":\"transpose\",\"inputs\":[\"y\"],\"outputs\":[\"m\"],\"attributes\":{"
         "\"permutation\":[0,1,1,2]}",
         "expected every axis of the input once, found [0, 1, 1, 2]"},
        {"ReshapeTwoFree", MEAN,
         "\"op\":\"reshape\",\"inputs\":[\"y\"],\"outputs\":[\"m\"],\"attributes\":{\"shape\":[-1,-"
         "1]}",
         "at most one -1"},
        {"Gelu", MEAN,
         "\"op\":\"gelu\",\"inputs\":[\"y\"],\"outputs\":[\"m\"],\"attributes\":{\"approximate\":"
         "\"fast\"}",
         "expected \"none\" or \"tanh\", found \"fast\""},
        {"SliceStep", MEAN,
         "\"op\":\"slice\",\"inputs\":[\"y\"],\"outputs\":[\"m\"],\"attributes\":{\"axis\":0,"
         "\"start\":0,\"end\":1,\"step\":0}",
         "attributes.step: expected at least 1"},
        {"EmbeddingIndices", MEAN,
         "\"op\":\"embedding\",\"inputs\":[\"y\",\"w\"],\"outputs\":[\"m\"],\"attributes\":{}",
         "expected int32 or int64 indices, found float32"},
        // activation
        {"ActivationKind", "\"kind\":\"clamp\"", "\"kind\":\"swish\"",
         "activation.kind: expected \"relu\" or \"clamp\""},
        {"ActivationBounds", "\"min\":0,\"max\":6.0", "\"min\":7,\"max\":6.0",
         "nodes[0].activation: expected min <= max"},
        {"ReluBounds", "\"kind\":\"clamp\"", "\"kind\":\"relu\"", "expected no such field"},
        {"ActivationString", "{\"kind\":\"clamp\",\"min\":0,\"max\":6.0}", "\"relu\"",
         "nodes[0].activation: expected an object"},
        {"SourceType", "\"source\":\"net.py:7\"", "\"source\":7",
         "nodes[0].source: expected a string, found 7"},
    }),
    [](const testing::TestParamInfo<Malformed>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace edgeqat
