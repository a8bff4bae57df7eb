// SPDX-License-Identifier: Apache-2.0
// The limits are checked while the text is read, before anything large is built.
#include "core/json_parse.h"

#include <unordered_set>
#include <vector>

#include "core/file_check.h"

namespace edgeqat::internal {
namespace {

using nlohmann::json;

class Limits {
 public:
  Limits(const JsonLimits& limits, const JsonFail& fail) : limits_(limits), fail_(fail) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        CheckDepth(depth);
        keys_.emplace_back();
        break;
      case json::parse_event_t::array_start:
        CheckDepth(depth);
        break;
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        CheckName(key);
        if (!keys_.back().insert(key).second)
          fail_(Printable(key), "expected every key of an object once, found it twice");
        break;
      }
      case json::parse_event_t::value:
        if (parsed.is_string()) CheckName(parsed.get_ref<const std::string&>());
        break;
      case json::parse_event_t::array_end:
        break;
    }
    if (++values_ > limits_.values) {
      fail_("text",
            "expected at most " + std::to_string(limits_.values) + " JSON values, found more");
    }
    return true;
  }

 private:
  void CheckDepth(int depth) const {
    if (depth >= kMaxNesting) {
      fail_("text",
            "expected nesting of at most " + std::to_string(kMaxNesting) + " levels, found more");
    }
  }
  void CheckName(const std::string& name) const {
    if (name.size() > limits_.string_bytes) {
      fail_(Printable(name), "expected names and strings of at most " +
                                 std::to_string(limits_.string_bytes) + " bytes, found " +
                                 std::to_string(name.size()));
    }
  }

  const JsonLimits& limits_;
  const JsonFail& fail_;
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::size_t values_ = 0;
};

}  // namespace

json ParseJson(std::string_view text, const JsonLimits& limits, const JsonFail& fail) {
  if (text.size() > limits.bytes) {
    fail("text", "expected at most " + std::to_string(limits.bytes) + " bytes, found " +
                     std::to_string(text.size()));
  }
  Limits check(limits, fail);
  std::string reason;
  try {
    return json::parse(text.begin(), text.end(),
                       [&check](int depth, json::parse_event_t event, json& parsed) {
                         return check(depth, event, parsed);
                       });
  } catch (const json::exception& error) {
    reason = error.what();  // quotes the last token, which may be long
  }
  fail("text", "expected valid JSON, found: " + Printable(reason, 240));
  return {};
}

}  // namespace edgeqat::internal
