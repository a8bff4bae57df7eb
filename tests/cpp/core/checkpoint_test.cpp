// SPDX-License-Identifier: Apache-2.0
// Round trips, the documented bytes, every flipped bit, and files that lie.
#include "edgeqat/checkpoint.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/temp_dir.h"
#include "edgeqat/safetensors.h"

namespace edgeqat {
namespace {

using Json = nlohmann::json;
using testing::ReadAll;
using testing::TempDir;

template <typename T>
Tensor Make(std::vector<std::int64_t> shape, std::vector<T> values) {
  return Tensor::From<T>(std::move(shape), std::span<const T>(values));
}

// Two weights, one with a scale per channel in 4 bits, and a graph that uses all of them.
Checkpoint Example() {
  Checkpoint checkpoint;
  checkpoint.plan = R"({"z": 1, "a": 0.10})";
  checkpoint.tensors["fc.bias"] = Make<float>({2}, {0.5F, -1.0F});
  checkpoint.tensors["fc.weight.scale"] = Make<float>({2}, {0.25F, 0.5F});
  checkpoint.tensors["fc.weight.zero_point"] = Make<std::int32_t>({2}, {0, 0});
  checkpoint.tensors["x.scale"] = Make<float>({1}, {0.125F});
  checkpoint.tensors["x.zero_point"] = Make<std::int32_t>({1}, {-128});
  checkpoint.packed["fc.weight"] = {Make<std::int8_t>({2, 3}, {-8, 7, 0, 1, -1, 3}),
                                    4,
                                    0,
                                    std::nullopt,
                                    "fc.weight.scale",
                                    "fc.weight.zero_point"};
  Json tensors;
  const auto constant = [&](const char* name, std::vector<std::int64_t> shape, const char* dtype) {
    tensors[name] = {{"shape", shape}, {"dtype", dtype}, {"constant", true}, {"quant", nullptr}};
  };
  constant("fc.bias", {2}, "float32");
  constant("fc.weight.scale", {2}, "float32");
  constant("fc.weight.zero_point", {2}, "int32");
  tensors["fc.weight"] = {
      {"shape", {2, 3}},
      {"dtype", "int8"},
      {"constant", true},
      {"quant",
       {{"bits", 4}, {"scale", "fc.weight.scale"}, {"zero_point", "fc.weight.zero_point"}}}};
  tensors["x"] = {{"shape", {-1, 3}},
                  {"dtype", "int8"},
                  {"constant", false},
                  {"quant", {{"bits", 8}, {"scale", "x.scale"}, {"zero_point", "x.zero_point"}}}};
  checkpoint.graph = Json{
      {"format", "edgeqat.graph"},
      {"version", 1},
      {"tensors", tensors},
      {"nodes",
       Json::array()}}.dump();
  return checkpoint;
}

TEST(Checkpoint, RoundTripKeepsEverything) {
  const TempDir dir;
  Checkpoint checkpoint = Example();
  checkpoint.extra["accuracy"] = "{\"top1\": 0.90}";
  SaveCheckpoint(dir / "a", checkpoint);
  EXPECT_TRUE(LoadCheckpoint(dir / "a") == checkpoint);
  EXPECT_TRUE(LoadCheckpoint(dir / "a", {.verify = false}) == checkpoint);
}

TEST(Checkpoint, EveryWidthSignAndLength) {
  const TempDir dir;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool is_signed : {true, false}) {
      for (const std::int64_t count : {0, 1, 3, 4, 5, 1000, 2'000'003}) {
        SCOPED_TRACE(::testing::Message()
                     << bits << " bits, signed " << is_signed << ", " << count);
        const int low = is_signed ? -(1 << (bits - 1)) : 0;
        Tensor codes = Tensor::Zeros(is_signed ? DType::kInt8 : DType::kUint8, {count});
        for (std::int64_t i = 0; i < count; ++i) {
          codes.data[static_cast<std::size_t>(i)] =
              static_cast<std::byte>(low + (i * 7 + i / 5) % (1 << bits));
        }
        Checkpoint checkpoint;
        checkpoint.tensors["s"] = Make<float>({1}, {1.0F});
        checkpoint.tensors["z"] = Make<std::int32_t>({1}, {0});
        checkpoint.packed["w"] = {codes, bits, std::nullopt, std::nullopt, "s", "z"};
        SaveCheckpoint(dir / "a", checkpoint);
        EXPECT_TRUE(LoadCheckpoint(dir / "a") == checkpoint);
        const int container = bits == 2 ? 2 : bits <= 4 ? 4 : 8;
        const SafetensorsReader reader(dir / "a");
        EXPECT_EQ(reader.Find("w")->size(),
                  static_cast<std::uint64_t>((count * container + 7) / 8));
      }
    }
  }
}

TEST(Checkpoint, StoresTheseBytes) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  const SafetensorsReader reader(dir / "a");
  const SafetensorsEntry& weight = *reader.Find("fc.weight");
  EXPECT_EQ(weight.dtype, "U8");
  // -8, 7, 0, 1, -1, 3 in 4 bits, the first in the low half.
  EXPECT_EQ(reader.Read(weight), Make<std::uint8_t>({3}, {0x78, 0x10, 0x3F}));
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  const Json meta = Json::parse(reader.metadata().at("edgeqat"));
  EXPECT_EQ(meta["version"], 1);
  EXPECT_EQ(meta["layout"], "lsb-first-v1");
  EXPECT_EQ(meta["tensors"]["fc.weight"]["shape"], (Json{2, 3}));
  EXPECT_NE(reader.metadata().at("edgeqat").find(R"("plan":{"z": 1, "a": 0.10})"),
            std::string::npos);
  EXPECT_EQ(reader.metadata().at("edgeqat_crc32c").size(), 8U);
}

TEST(Checkpoint, SameCheckpointSameBytes) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  SaveCheckpoint(dir / "b", LoadCheckpoint(dir / "a"));
  EXPECT_EQ(ReadAll(dir / "a"), ReadAll(dir / "b"));
}

TEST(Checkpoint, HeaderWithoutData) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  const CheckpointHeader header = ReadCheckpointHeader(dir / "a");
  EXPECT_EQ(header.version, 1);
  EXPECT_EQ(header.kind, "quantized");
  EXPECT_EQ(header.plan, Example().plan);
  ASSERT_EQ(header.entries.size(), 6U);
  EXPECT_EQ(header.entries[1].name, "fc.weight");
  EXPECT_EQ(header.entries[1].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(header.entries[1].bytes, 3U);
  EXPECT_EQ(header.entries[1].bits, 4);
  EXPECT_EQ(header.entries[0].bits, 0);
}

// In place: a file system syncs a file that is truncated and written again, 1 ms each.
TEST(Checkpoint, EveryFlippedBitIsFound) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  const std::string file = ReadAll(dir / "a");
  std::fstream stream(dir / "a", std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](std::size_t at, char byte) {
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte);
    stream.flush();
  };
  for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
    put(bit / 8, static_cast<char>(file[bit / 8] ^ (1 << (bit % 8))));
    const Error error = testing::ErrorOf([&] { static_cast<void>(LoadCheckpoint(dir / "a")); });
    ASSERT_EQ(error.code(), ErrorCode::kCorruptFile) << "bit " << bit << ": " << error.what();
    put(bit / 8, file[bit / 8]);
  }
  EXPECT_TRUE(LoadCheckpoint(dir / "a") == Example());
}

TEST(Checkpoint, EveryTruncationIsFound) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  for (std::size_t size = ReadAll(dir / "a").size(); size-- > 0;) {
    std::filesystem::resize_file(dir / "a", size);
    EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a")), ErrorCode::kCorruptFile, dir / "a");
  }
}

// Writes Example() after `edit` changed the description; the structure alone must give it away.
void WriteEdited(const std::string& path, const std::function<void(Json&)>& edit) {
  SaveCheckpoint(path, Example());
  const SafetensorsReader reader(path);
  std::map<std::string, std::string> metadata = reader.metadata();
  Json meta = Json::parse(metadata.at("edgeqat"));
  edit(meta);
  metadata["edgeqat"] = meta.dump();
  std::vector<SafetensorsItem> items;
  for (const SafetensorsEntry& entry : reader.entries()) {
    items.push_back({entry.name, entry.dtype, entry.shape,
                     [tensor = reader.Read(entry)](const ByteSink& sink) { sink(tensor.data); }});
  }
  WriteSafetensors(path, std::move(items), metadata);
}

TEST(Checkpoint, RefusesFilesThatLie) {
  const TempDir dir;
  struct Case {
    const char* field;
    std::function<void(Json&)> edit;
  };
  const auto weight = [](const char* member, Json value) {
    return [member, value](Json& meta) { meta["tensors"]["fc.weight"][member] = value; };
  };
  const std::vector<Case> cases = {
      {"'version'", [](Json& meta) { meta["version"] = 2; }},
      {"'version'", [](Json& meta) { meta["version"] = 0; }},
      {"'version'", [](Json& meta) { meta.erase("version"); }},
      {"'kind'", [](Json& meta) { meta["kind"] = "pruned"; }},
      {"'layout'", [](Json& meta) { meta["layout"] = "msb-first-v1"; }},
      {"'plan'", [](Json& meta) { meta["plan"] = 3; }},
      {"'graph.tensors'", [](Json& meta) { meta["graph"].erase("tensors"); }},
      {"checksum.algorithm", [](Json& meta) { meta["checksum"]["algorithm"] = "md5"; }},
      {"checksum.tensors[y]", [](Json& meta) { meta["checksum"]["tensors"]["y"] = "00000000"; }},
      {"checksum.tensors[x.scale]",
       [](Json& meta) { meta["checksum"]["tensors"]["x.scale"] = "0000000G"; }},
      {"tensors[other]",
       [](Json& meta) { meta["tensors"]["other"] = meta["tensors"]["fc.weight"]; }},
      {"tensors[fc.weight].bits", weight("bits", 9)},
      {"tensors[fc.weight].bits", weight("bits", 1)},
      {"tensors[fc.weight].bits", weight("bits", 4.5)},
      {"tensors[fc.weight].shape", weight("bits", 2)},
      {"header[fc.weight].dtype", weight("bits", 8)},
      {"tensors[fc.weight].codes",
       [](Json& meta) {
         meta["tensors"]["fc.weight"]["bits"] = 3;  // 7 and -8 need 4
         meta["graph"]["tensors"]["fc.weight"]["quant"]["bits"] = 3;
       }},
      {"tensors[fc.weight].shape", weight("shape", {2, 4})},
      {"tensors[fc.weight].shape", weight("shape", {-2, 3})},
      {"tensors[fc.weight].shape", weight("shape", {std::int64_t{1} << 62, 4})},
      {"tensors[fc.weight].shape", weight("shape", {std::int64_t{1} << 62})},
      {"tensors[fc.weight].signed", weight("signed", 1)},
      {"tensors[fc.weight].axis", weight("axis", 2)},
      {"tensors[fc.weight].axis", weight("axis", -1)},
      {"tensors[fc.weight].scale", weight("axis", 1)},
      {"tensors[fc.weight].scale", weight("axis", nullptr)},
      {"tensors[fc.weight].group_size", weight("group_size", 0)},
      {"tensors[fc.weight].group_size", weight("group_size", 3)},
      {"tensors[fc.weight].scale", weight("group_size", 2)},
      {"tensors[fc.weight].scale", weight("scale", "nothing")},
      {"tensors[fc.weight].scale", weight("scale", "fc.weight.zero_point")},
      {"tensors[fc.weight].scale", weight("scale", "x.scale")},
      {"tensors[fc.weight].zero_point", weight("zero_point", "fc.bias")},
      {"tensors[fc.weight].zero_point", weight("zero_point", "x.zero_point")},
      {"graph.tensors[fc.weight].dtype", weight("signed", false)},
      {"graph.tensors[gone]",
       [](Json& meta) { meta["graph"]["tensors"]["gone"] = {{"constant", true}}; }},
      {"graph.tensors[x].quant.scale",
       [](Json& meta) { meta["graph"]["tensors"]["x"]["quant"]["scale"] = "gone"; }},
      {"graph.tensors[fc.bias].shape",
       [](Json& meta) { meta["graph"]["tensors"]["fc.bias"]["shape"] = {3}; }},
      {"graph.tensors[fc.bias].dtype",
       [](Json& meta) { meta["graph"]["tensors"]["fc.bias"]["dtype"] = "int8"; }},
      {"graph.tensors[fc.weight].quant.bits",
       [](Json& meta) { meta["graph"]["tensors"]["fc.weight"]["quant"]["bits"] = 8; }},
  };
  for (const Case& lie : cases) {
    WriteEdited(dir / "a", lie.edit);
    EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a", {.verify = false})),
                 ErrorCode::kCorruptFile, lie.field);
    EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a")), ErrorCode::kCorruptFile, "expected");
  }
}

TEST(Checkpoint, NewerVersionNamesBoth) {
  const TempDir dir;
  WriteEdited(dir / "a", [](Json& meta) { meta = {{"version", 7}, {"producer", "edgeqat 9.0"}}; });
  EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a")), ErrorCode::kCorruptFile,
               "expected 1 to 1");
  EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a")), ErrorCode::kCorruptFile,
               "found 7 (written by edgeqat 9.0)");
}

TEST(Checkpoint, RefusesAnotherPrograms) {
  const TempDir dir;
  WriteSafetensors(dir / "a", {}, {{"format", "pt"}});
  EXPECT_ERROR(static_cast<void>(LoadCheckpoint(dir / "a")), ErrorCode::kCorruptFile,
               "edgeqat did not write this file");
}

TEST(Checkpoint, SavingRefusesContradictionsAndKeepsTheOldFile) {
  const TempDir dir;
  SaveCheckpoint(dir / "a", Example());
  const std::string before = ReadAll(dir / "a");
  const auto refused = [&](const char* field, const std::function<void(Checkpoint&)>& edit) {
    Checkpoint checkpoint = Example();
    edit(checkpoint);
    EXPECT_ERROR(SaveCheckpoint(dir / "a", checkpoint), ErrorCode::kInvalidArgument, field);
    EXPECT_EQ(ReadAll(dir / "a"), before);
    EXPECT_EQ(dir.List(), std::vector<std::string>{"a"});
  };
  using Limits = std::numeric_limits<float>;
  for (const float scale : {0.0F, -1.0F, Limits::quiet_NaN(), Limits::infinity()}) {
    refused("tensors[fc.weight].scale",
            [&](Checkpoint& c) { c.tensors["fc.weight.scale"] = Make<float>({2}, {1.0F, scale}); });
    refused("graph.tensors[x].quant.scale",
            [&](Checkpoint& c) { c.tensors["x.scale"] = Make<float>({1}, {scale}); });
  }
  refused("tensors[fc.weight].codes", [](Checkpoint& c) { c.packed["fc.weight"].bits = 3; });
  refused("tensors[fc.weight].codes",
          [](Checkpoint& c) { c.packed["fc.weight"].codes.dtype = DType::kInt32; });
  refused("tensors[fc.weight].codes",
          [](Checkpoint& c) { c.packed["fc.weight"].codes.data.pop_back(); });
  refused("tensors[fc.weight].zero_point", [](Checkpoint& c) {
    c.tensors["fc.weight.zero_point"] = Make<std::int32_t>({2}, {0, 8});
  });
  refused("tensors[fc.bias].data", [](Checkpoint& c) { c.tensors["fc.bias"].data.pop_back(); });
  refused("each name once",
          [](Checkpoint& c) { c.tensors["fc.weight"] = Make<float>({1}, {1.0F}); });
  refused("'plan", [](Checkpoint& c) { c.plan = "{\"a\":NaN}"; });
  refused("'plan'", [](Checkpoint& c) { c.plan = "3"; });
  refused("'graph", [](Checkpoint& c) { c.graph = "{"; });
  refused("graph.tensors[fc.bias]", [](Checkpoint& c) { c.tensors.erase("fc.bias"); });
  refused("extra[plan]", [](Checkpoint& c) { c.extra["plan"] = "1"; });
  refused("extra[a]", [](Checkpoint& c) { c.extra["a"] = "1,\"b\":2"; });
  refused("extra[a]", [](Checkpoint& c) { c.extra["a"] = "1}"; });
}

}  // namespace
}  // namespace edgeqat
