// SPDX-License-Identifier: Apache-2.0
// The limits of a graph's JSON text.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/json_parse.h"

namespace edgeqat::graph {

using internal::kMaxNameBytes;
inline constexpr std::size_t kMaxTensors = std::size_t{1} << 20;  // and nodes
inline constexpr std::size_t kMaxDimensions = 8;

// The DOM; throws GraphError.
nlohmann::json ParseJson(std::string_view text);

}  // namespace edgeqat::graph
