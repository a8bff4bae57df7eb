// SPDX-License-Identifier: Apache-2.0
// zlib and base64 around long metadata texts.
#include "core/long_text.h"

#include <zlib.h>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace edgeqat::internal {
namespace {

constexpr char kPrefix[] = "zlib:";
constexpr std::size_t kPrefixSize = sizeof(kPrefix) - 1;

}  // namespace

std::string CompressText(std::string text) {
  if (text.size() <= kPlainText || text.size() > kLongestText) return text;
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                reinterpret_cast<const Bytef*>(text.data()), text.size(),
                Z_BEST_COMPRESSION) != Z_OK) {
    return text;
  }
  packed.resize(size);
  return std::string(kPrefix) + std::to_string(text.size()) + ":" + absl::Base64Escape(packed);
}

std::string ExpandText(const std::string& stored, const std::string& field,
                       const FileCheck& check) {
  if (!stored.starts_with(kPrefix)) return stored;
  const std::size_t colon = stored.find(':', kPrefixSize);
  std::size_t bytes = 0;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(stored.substr(kPrefixSize, colon - kPrefixSize), &bytes) ||
      bytes > kLongestText) {
    check.Fail(field, absl::StrCat("zlib:<at most ", kLongestText, ">:<base64>"), "another size");
  }
  std::string packed;
  if (!absl::Base64Unescape(stored.substr(colon + 1), &packed)) {
    check.Fail(field, "base64 after zlib:<bytes>:", "other characters");
  }
  // zlib never gains more than a factor of 1,032: a text that says more is a lie before it takes
  // memory.
  if (bytes > (packed.size() + 1) * 1032) {
    check.Fail(field,
               absl::StrCat("at most ", (packed.size() + 1) * 1032, " bytes from a stream of ",
                            packed.size()),
               absl::StrCat(bytes));
  }
  std::string text(bytes, '\0');
  uLongf size = text.size();
  uLong used = packed.size();
  const int status = uncompress2(reinterpret_cast<Bytef*>(text.data()), &size,
                                 reinterpret_cast<const Bytef*>(packed.data()), &used);
  if (status != Z_OK || size != bytes || used != packed.size()) {
    check.Fail(field, absl::StrCat("a zlib stream of ", bytes, " bytes"),
               "a damaged or different one");
  }
  return text;
}

}  // namespace edgeqat::internal
