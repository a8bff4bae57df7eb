// SPDX-License-Identifier: Apache-2.0
// The container: bytes of a written file spelled out, and one file for each rule of the reader.
#include "edgeqat/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "core/temp_dir.h"

namespace edgeqat {
namespace {

using testing::ReadAll;
using testing::TempDir;
using testing::WriteAll;

std::string File(std::string_view header, std::string_view data = {}) {
  std::string file;
  for (std::size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file + std::string(header) + std::string(data);
}

SafetensorsItem Item(std::string name, std::string_view dtype, std::vector<std::int64_t> shape,
                     std::string bytes) {
  return {
      std::move(name), dtype, std::move(shape),
      [bytes = std::move(bytes)](const ByteSink& sink) { sink(std::as_bytes(std::span(bytes))); }};
}

TEST(Safetensors, WritesTheseBytes) {
  const TempDir dir;
  WriteSafetensors(
      dir / "a",
      {Item("b", "U8", {3}, "xyz"), Item("a", "U8", {}, "w"), Item("f", "F32", {1}, "1234")},
      {{"key", "v\n"}});
  EXPECT_EQ(
      ReadAll(dir / "a"),
      File(R"({"__metadata__":{"key":"v\n"},"f":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
           R"("a":{"dtype":"U8","shape":[],"data_offsets":[4,5]},)"
           R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}}      )",
           "1234wxyz"));
}

TEST(Safetensors, ReadsBack) {
  const TempDir dir;
  WriteSafetensors(dir / "a",
                   {Item("i", "I64", {2, 0}, ""), Item("x", "F32", {2}, "12345678"),
                    Item("d", "F64", {1}, "abcdefgh")},
                   {});
  const SafetensorsReader reader(dir / "a");
  ASSERT_EQ(reader.entries().size(), 3U);
  EXPECT_TRUE(reader.metadata().empty());
  EXPECT_EQ(reader.Find("nothing"), nullptr);
  const SafetensorsEntry& x = *reader.Find("x");
  EXPECT_EQ(x.shape, std::vector<std::int64_t>{2});
  std::string part(3, ' ');
  reader.Read(x, 5, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "678");
  EXPECT_EQ(reader.Read(x).dtype, DType::kFloat32);
  EXPECT_EQ(reader.Read(*reader.Find("i")).shape, (std::vector<std::int64_t>{2, 0}));
  EXPECT_ERROR(reader.Read(x, 6, std::as_writable_bytes(std::span(part))), ErrorCode::kOutOfRange,
               "offset");
  EXPECT_ERROR(static_cast<void>(reader.Read(*reader.Find("d"))), ErrorCode::kUnsupported,
               "header[d].dtype");
}

TEST(Safetensors, SavingOverAFileThatIsBeingRead) {
  const TempDir dir;
  WriteSafetensors(dir / "a", {Item("x", "U8", {3}, "old")}, {});
  const SafetensorsReader reader(dir / "a");
  WriteSafetensors(dir / "a", {Item("x", "U8", {3}, "new")}, {});
  const Tensor old = reader.Read(*reader.Find("x"));
  EXPECT_EQ(old, Tensor::From<std::uint8_t>({3}, std::vector<std::uint8_t>{'o', 'l', 'd'}));
}

struct Refused {
  const char* what;
  std::string file;
  const char* message;
};

std::string One(std::string_view entry, std::string_view data = "1234") {
  return File(R"({"x":)" + std::string(entry) + "}", data);
}

std::vector<Refused> RefusedFiles() {
  const std::string good = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  return {
      {"empty", "", "header length"},
      {"seven bytes", "1234567", "header length"},
      {"length beyond the file", std::string("\xFF\x00\x00\x00\x00\x00\x00\x00{}", 10),
       "header length"},
      {"length of 2^64-1", std::string(8, '\xFF') + "{}", "header length"},
      {"no header", std::string(8, '\0'), "'header'"},
      {"list", File("[]"), "'header'"},
      {"space first", File(" {}"), "'header'"},
      {"byte order mark", File("\xEF\xBB\xBF{}"), "'header'"},
      {"truncated JSON", File("{\"x\":"), "header, byte"},
      {"text behind", File("{} x"), "header, byte"},
      {"NUL and text behind", File(std::string_view("{}\0garbage", 10)), "NUL"},
      {"invalid UTF-8", File("{\"\xFF\":{}}"), "header, byte"},
      {"data without tensor", File("{}", "1234"), "'data'"},
      {"too little data", One(good, "123"), "header[x].data_offsets"},
      {"too much data", One(good, "12345"), "'data'"},
      {"entry is text", One(R"("U8")"), "'header[x]'"},
      {"entry is a list", One("[]"), "'header[x]'"},
      {"entry is null", One("null"), "'header[x]'"},
      {"missing dtype", One(R"({"shape":[4],"data_offsets":[0,4]})"), "'header[x]'"},
      {"unknown dtype", One(R"({"dtype":"F4","shape":[4],"data_offsets":[0,4]})"),
       "header[x].dtype"},
      {"dtype is a number", One(R"({"dtype":1,"shape":[4],"data_offsets":[0,4]})"),
       "header[x].dtype"},
      {"unknown field", One(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"z":1})"),
       "header[x].z"},
      {"field twice", One(R"({"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
       "each name once"},
      {"name twice",
       File(R"({"x":)" + good + R"(,"x":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})", "1234"),
       "each name once"},
      {"nine dimensions", One(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,4]})"),
       "header[x].shape"},
      {"negative extent", One(R"({"dtype":"U8","shape":[-4],"data_offsets":[0,4]})"),
       "header[x].shape"},
      {"fraction", One(R"({"dtype":"U8","shape":[4.0],"data_offsets":[0,4]})"), "header[x].shape"},
      {"extent of 2^63",
       One(R"({"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4]})"),
       "header[x].shape"},
      {"product overflows",
       One(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"),
       "header[x].shape"},
      {"overflow hidden by 0",
       One(R"({"dtype":"U8","shape":[9223372036854775807,3,0],"data_offsets":[0,0]})", ""),
       "header[x].shape"},
      {"nested list", One(R"({"dtype":"U8","shape":[[4]],"data_offsets":[0,4]})"),
       "header[x].shape"},
      {"one offset", One(R"({"dtype":"U8","shape":[4],"data_offsets":[4]})"),
       "header[x].data_offsets"},
      {"three offsets", One(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4,4]})"),
       "header[x].data_offsets"},
      {"reversed offsets", One(R"({"dtype":"U8","shape":[4],"data_offsets":[4,0]})"),
       "header[x].data_offsets"},
      {"wrong size", One(R"({"dtype":"U8","shape":[3],"data_offsets":[0,4]})"),
       "header[x].data_offsets"},
      {"hole", One(R"({"dtype":"U8","shape":[3],"data_offsets":[1,4]})"), "a hole"},
      {"overlap",
       File(R"({"x":)" + good + R"(,"y":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", "1234"),
       "an overlap"},
      {"metadata is a list", File(R"({"__metadata__":[]})"), "__metadata__"},
      {"metadata holds a number", File(R"({"__metadata__":{"a":1}})"), "__metadata__[a]"},
      {"metadata key twice", File(R"({"__metadata__":{"a":"1","a":"2"}})"), "each name once"},
      {"metadata twice", File(R"({"__metadata__":{},"__metadata__":{}})"), "each name once"},
      {"deep nesting", File(R"({"x":)" + std::string(100'000, '[')), "'header[x]'"},
      {"name over 64 KiB", File("{\"" + std::string(65'537, 'n') + "\":{}}"),
       "at most 65536 bytes"},
  };
}

TEST(Safetensors, RefusesDamagedFiles) {
  const TempDir dir;
  for (const Refused& refused : RefusedFiles()) {
    SCOPED_TRACE(refused.what);
    WriteAll(dir / "a", refused.file);
    EXPECT_ERROR(SafetensorsReader(dir / "a"), ErrorCode::kCorruptFile, refused.message);
  }
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  const TempDir dir;
  mkfifo((dir / "pipe").c_str(), 0600);
  EXPECT_ERROR(SafetensorsReader(dir / "none"), ErrorCode::kIo, "No such file");
  EXPECT_ERROR(SafetensorsReader(dir / ""), ErrorCode::kIo, "Is a directory");
  EXPECT_ERROR(SafetensorsReader(dir / "pipe"), ErrorCode::kIo, "a regular file is expected");
  EXPECT_ERROR(SafetensorsReader("/dev/zero"), ErrorCode::kIo, "a regular file is expected");
}

TEST(Safetensors, WriterRefuses) {
  const TempDir dir;
  const auto write = [&](std::vector<SafetensorsItem> items,
                         std::map<std::string, std::string> metadata = {}) {
    WriteSafetensors(dir / "a", std::move(items), metadata);
  };
  EXPECT_ERROR(write({Item("x", "U8", {3}, "12")}), ErrorCode::kInvalidArgument, "items[x].write");
  EXPECT_ERROR(write({Item("x", "U8", {1}, "12")}), ErrorCode::kInvalidArgument, "items[x].write");
  EXPECT_ERROR(write({Item("x", "F4", {1}, "1")}), ErrorCode::kInvalidArgument, "items[x].dtype");
  EXPECT_ERROR(write({Item("x", "U8", {1, 1, 1, 1, 1, 1, 1, 1, 1}, "1")}),
               ErrorCode::kInvalidArgument, "items[x].shape");
  EXPECT_ERROR(write({Item("x", "U8", {1}, "1"), Item("x", "U8", {1}, "1")}),
               ErrorCode::kInvalidArgument, "each name once");
  EXPECT_ERROR(write({Item("__metadata__", "U8", {1}, "1")}), ErrorCode::kInvalidArgument,
               "__metadata__");
  EXPECT_ERROR(write({Item("\xFF", "U8", {1}, "1")}), ErrorCode::kInvalidArgument, "items[\\xff]");
  EXPECT_ERROR(write({}, {{"k", "\xC0\x80"}}), ErrorCode::kInvalidArgument, "metadata[k]");
  EXPECT_TRUE(dir.List().empty());
}

}  // namespace
}  // namespace edgeqat
