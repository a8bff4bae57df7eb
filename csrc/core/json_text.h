// SPDX-License-Identifier: Apache-2.0
// JSON from outside, checked before a tree is built, and its members as the text they were.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "core/file_check.h"

namespace edgeqat::internal {

inline constexpr std::size_t kMaxJsonNesting = 32;

// Fails where `text` is not an object in well-formed UTF-8 JSON, nests deeper than kMaxJsonNesting
// less `outer_nesting`, or gives a key twice in one object (readers disagree on which one counts).
void CheckJsonObject(std::string_view text, const std::string& field, const FileCheck& check,
                     std::size_t outer_nesting = 0);

// Calls `visit` with the name and the text of the value, byte for byte, of each member of a checked
// object. The plan and the graph thus come back with the order and the digits they were saved with,
// and a member is parsed into a tree only where it is small.
void ForEachJsonMember(std::string_view object,
                       const std::function<void(const std::string&, std::string_view)>& visit);

}  // namespace edgeqat::internal
