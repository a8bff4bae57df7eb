// SPDX-License-Identifier: Apache-2.0
// Long texts come back whole; damaged, lying and oversized streams are refused.
#include "core/long_text.h"

#include <gtest/gtest.h>

#include "edgeqat/error.h"

namespace edgeqat::internal {
namespace {

const FileCheck kCheck(ErrorCode::kCorruptFile, "file", "");

std::string Long() {
  std::string text = "{";
  while (text.size() < 3 * kPlainText) text += "\"key" + std::to_string(text.size()) + "\":1,";
  return text + "\"end\":0}";
}

TEST(LongText, ShortStaysReadable) { EXPECT_EQ(CompressText("{\"a\":1}"), "{\"a\":1}"); }

TEST(LongText, LongComesBack) {
  const std::string stored = CompressText(Long());
  EXPECT_LT(stored.size(), Long().size());
  EXPECT_EQ(ExpandText(stored, "edgeqat", kCheck), Long());
}

TEST(LongText, RefusesEveryDamage) {
  const std::string stored = CompressText(Long());
  const std::string bytes = std::to_string(Long().size());
  const std::string data = stored.substr(stored.rfind(':') + 1);
  for (const std::string& bad :
       {"zlib:" + bytes, "zlib:x:" + data, "zlib:99999999999:" + data,
        "zlib:" + bytes + ":!" + data, "zlib:" + std::to_string(Long().size() - 1) + ":" + data,
        "zlib:" + std::to_string(Long().size() + 1) + ":" + data,
        stored.substr(0, stored.size() - 8), "zlib:" + bytes + ":" + data + "AAAA"}) {
    EXPECT_THROW(ExpandText(bad, "edgeqat", kCheck), Error) << bad.substr(0, 40);
  }
}

}  // namespace
}  // namespace edgeqat::internal
