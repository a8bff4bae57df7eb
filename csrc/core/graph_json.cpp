// SPDX-License-Identifier: Apache-2.0
// What is wrong with the text of a graph, as GraphError.
#include "core/graph_json.h"

#include <string>

#include "edgeqat/graph.h"

namespace edgeqat::graph {

nlohmann::json ParseJson(std::string_view text) {
  constexpr internal::JsonLimits kLimits = {.bytes = 100'000'000, .values = std::size_t{1} << 25};
  return internal::ParseJson(text, kLimits,
                             [](const std::string& field, const std::string& problem) {
                               throw GraphError("", field, problem);
                             });
}

}  // namespace edgeqat::graph
