// SPDX-License-Identifier: Apache-2.0
// JSON text to nlohmann's DOM under limits that hold for hostile files.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/json_limits.h"

namespace edgeqat::internal {

// Refuses text, nesting, strings and value counts over the limits, syntax errors, invalid UTF-8,
// numbers outside of double, and an object that holds a key twice (the DOM would silently keep one
// of the two).
nlohmann::json ParseJson(std::string_view text, const JsonLimits& limits, const JsonFail& fail);

}  // namespace edgeqat::internal
