// SPDX-License-Identifier: Apache-2.0
// A checking pass over JSON text and a scanner for the top-level members.
#include "core/json_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace edgeqat::internal {
namespace {

using Json = nlohmann::json;

class CheckHandler {
 public:
  CheckHandler(const std::string& field, const FileCheck& check, std::size_t limit)
      : field_(field), check_(check), limit_(limit) {}

  bool null() { return Value("null"); }
  bool boolean(bool) { return Value("a boolean"); }
  bool number_integer(std::int64_t) { return Value("a number"); }
  bool number_unsigned(std::uint64_t) { return Value("a number"); }
  bool number_float(double, const std::string&) { return Value("a number"); }
  bool string(std::string&) { return Value("text"); }
  bool binary(Json::binary_t&) { return Value("binary data"); }

  bool start_object(std::size_t) { return Enter(); }
  bool end_object() { return Leave(); }
  bool start_array(std::size_t) {
    if (keys_.empty()) Value("a list");
    return Enter();
  }
  bool end_array() { return Leave(); }

  bool key(std::string& name) {
    // The hash stands for the name: keys of a large file are not all kept. Two names that share 64
    // bits are refused as one; that has a chance of 1 in 10^7 for a million names.
    if (!keys_.back().insert(absl::HashOf(name)).second) {
      check_.Fail(FileCheck::Field(field_, name), "each key once in an object", "it twice");
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) {
    check_.Fail(absl::StrCat(field_, ", byte ", position), "well-formed JSON in UTF-8",
                "something else");
  }

 private:
  bool Value(const char* kind) {
    if (keys_.empty()) check_.Fail(field_, "a JSON object", kind);
    return true;
  }

  bool Enter() {
    if (keys_.size() == limit_) {
      check_.Fail(field_, absl::StrCat("at most ", kMaxJsonNesting, " levels of nesting"), "more");
    }
    keys_.emplace_back();
    return true;
  }

  bool Leave() {
    keys_.pop_back();
    return true;
  }

  const std::string& field_;
  const FileCheck& check_;
  std::size_t limit_;
  std::vector<absl::flat_hash_set<std::size_t>> keys_;  // one set per open level
};

constexpr std::string_view kSpace = " \t\n\r";

// Index behind the string that starts at `at`.
std::size_t SkipString(std::string_view text, std::size_t at) {
  for (++at; text[at] != '"'; ++at) {
    if (text[at] == '\\') ++at;
  }
  return at + 1;
}

// Index behind the value that starts at `at`: the first comma or closing bracket on its level.
std::size_t SkipValue(std::string_view text, std::size_t at) {
  for (int depth = 0;;) {
    const char c = text[at];
    if (depth == 0 && (c == ',' || c == '}')) return at;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    at = c == '"' ? SkipString(text, at) : at + 1;
  }
}

}  // namespace

void CheckJsonObject(std::string_view text, const std::string& field, const FileCheck& check,
                     std::size_t outer_nesting) {
  // The JSON library takes a NUL for the end of its input and skips a byte order mark.
  const std::size_t start = text.find_first_not_of(kSpace);
  if (start == std::string_view::npos || text[start] != '{' ||
      text.find('\0') != std::string_view::npos) {
    check.Fail(field, "a JSON object",
               text.empty() ? "nothing" : absl::StrCat("'", Printable(text, 20), "'"));
  }
  CheckHandler handler(field, check, kMaxJsonNesting - outer_nesting);
  Json::sax_parse(text, &handler);
}

void ForEachJsonMember(std::string_view object,
                       const std::function<void(const std::string&, std::string_view)>& visit) {
  std::size_t at = object.find('{') + 1;
  for (;;) {
    at = object.find_first_of("\"}", at);
    if (object[at] == '}') return;
    const std::size_t key_end = SkipString(object, at);
    const auto key = Json::parse(object.substr(at, key_end - at)).get<std::string>();
    const std::size_t begin = object.find_first_not_of(kSpace, object.find(':', key_end) + 1);
    at = SkipValue(object, begin);
    const std::string_view value = object.substr(begin, at - begin);
    visit(key, value.substr(0, value.find_last_not_of(kSpace) + 1));
  }
}

}  // namespace edgeqat::internal
