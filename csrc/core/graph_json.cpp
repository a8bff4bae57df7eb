// SPDX-License-Identifier: Apache-2.0
// The limits are checked while the text is read, before anything large is built.
#include "core/graph_json.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "core/graph_schema.h"

namespace edgeqat::graph {
namespace {

using nlohmann::json;

class Limits {
 public:
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
        if (!keys_.back().insert(key).second) {
          throw GraphError("", Excerpt(key),
                           "expected every key of an object once, found it twice");
        }
        break;
      }
      case json::parse_event_t::value:
        if (parsed.is_string()) CheckName(parsed.get_ref<const std::string&>());
        break;
      case json::parse_event_t::array_end:
        break;
    }
    if (++values_ > kMaxValues) {
      throw GraphError(
          "", "text",
          "expected at most " + std::to_string(kMaxValues) + " JSON values, found more");
    }
    return true;
  }

 private:
  static void CheckDepth(int depth) {
    if (depth >= kMaxNesting) {
      throw GraphError(
          "", "text",
          "expected nesting of at most " + std::to_string(kMaxNesting) + " levels, found more");
    }
  }
  static void CheckName(const std::string& name) {
    if (name.size() > kMaxNameBytes) {
      throw GraphError("", Excerpt(name),
                       "expected names and strings of at most " + std::to_string(kMaxNameBytes) +
                           " bytes, found " + std::to_string(name.size()));
    }
  }

  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::size_t values_ = 0;
};

}  // namespace

json ParseJson(std::string_view text) {
  if (text.size() > kMaxTextBytes) {
    throw GraphError("", "text",
                     "expected at most " + std::to_string(kMaxTextBytes) + " bytes, found " +
                         std::to_string(text.size()));
  }
  Limits limits;
  try {
    return json::parse(text.begin(), text.end(),
                       [&limits](int depth, json::parse_event_t event, json& parsed) {
                         return limits(depth, event, parsed);
                       });
  } catch (const json::exception& error) {
    const std::string reason = error.what();  // quotes the last token, which may be long
    throw GraphError("", "text", "expected valid JSON, found: " + reason.substr(0, 240));
  }
}

}  // namespace edgeqat::graph
