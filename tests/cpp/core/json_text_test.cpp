// SPDX-License-Identifier: Apache-2.0
// JSON from outside: what is refused, and members as the text they were.
#include "core/json_text.h"

#include <gtest/gtest.h>

#include "core/temp_dir.h"

namespace edgeqat::internal {
namespace {

void Check(const std::string& text, std::size_t outer = 0) {
  CheckJsonObject(text, "f", ReadCheck("file"), outer);
}

TEST(JsonText, Refuses) {
  for (const char* text : {"", " ", "[]", "1", "null", "\"{}\"", "\xEF\xBB\xBF{}"}) {
    EXPECT_ERROR(Check(text), ErrorCode::kCorruptFile, "'f': expected a JSON object");
  }
  for (const char* text : {"{", "{} {}", "{\"a\":NaN}", "{\"a\":01}", "{\"a\":1,}",
                           "{\"\xC0\x80\":1}", "{\"a\":1e999}"}) {
    EXPECT_ERROR(Check(text), ErrorCode::kCorruptFile, "well-formed JSON");
  }
  EXPECT_ERROR(Check(std::string("{}\0x", 4)), ErrorCode::kCorruptFile, "a JSON object");
  EXPECT_ERROR(Check(R"({"a":{"b":1,"b":2}})"), ErrorCode::kCorruptFile, "f[b]");
  EXPECT_ERROR(Check(R"({"a":1,"\u0061":2})"), ErrorCode::kCorruptFile, "f[a]");
}

TEST(JsonText, NestingHasALimit) {
  const auto nested = [](int levels) {
    return "{\"a\":" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
  };
  EXPECT_NO_THROW(Check(nested(32)));
  EXPECT_NO_THROW(Check(nested(31), 1));
  EXPECT_ERROR(Check(nested(33)), ErrorCode::kCorruptFile, "at most 32 levels");
  EXPECT_ERROR(Check(nested(32), 1), ErrorCode::kCorruptFile, "at most 32 levels");
  EXPECT_ERROR(Check("{\"a\":" + std::string(1'000'000, '[')), ErrorCode::kCorruptFile,
               "at most 32 levels");
}

TEST(JsonText, MembersKeepTheirText) {
  const std::string text =
      R"( { "z" : { "b": "}\"," , "a":[1,{"c":2}] } ,"\u00e9":1.50,"e":{},"s":"a\\" , "l":[ ] } )";
  std::vector<std::pair<std::string, std::string>> found;
  Check(text);
  ForEachJsonMember(text, [&](const std::string& name, std::string_view value) {
    found.emplace_back(name, value);
  });
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"z", R"({ "b": "}\"," , "a":[1,{"c":2}] })"},
      {"\xC3\xA9", "1.50"},
      {"e", "{}"},
      {"s", R"("a\\")"},
      {"l", "[ ]"}};
  EXPECT_EQ(found, expected);
  ForEachJsonMember("{}", [](const std::string&, std::string_view) { ADD_FAILURE(); });
}

TEST(FileCheck, PrintableTextIsShortAndValid) {
  EXPECT_EQ(Printable("conv1.weight"), "conv1.weight");
  EXPECT_EQ(Printable("a\nb\x7F"), "a\\x0ab\\x7f");
  EXPECT_EQ(Printable("\xC3\xA9\xFF\xED\xA0\x80"), "\xC3\xA9\\xff\\xed\\xa0\\x80");
  EXPECT_EQ(Printable(std::string(1000, 'x')), std::string(80, 'x') + "...");
  EXPECT_EQ(Printable("\xF0\x9F\x98"), "\\xf0\\x9f\\x98");
}

}  // namespace
}  // namespace edgeqat::internal
