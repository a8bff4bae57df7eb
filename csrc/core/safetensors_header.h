// SPDX-License-Identifier: Apache-2.0
// The JSON header of a safetensors file, parsed straight into entries.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_check.h"
#include "edgeqat/safetensors.h"

namespace edgeqat::internal {

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // sorted by name
  std::map<std::string, std::string> metadata;
};

// `data_size`: bytes behind the header. Fails through `check`.
SafetensorsHeader ParseSafetensorsHeader(std::string_view text, std::uint64_t data_size,
                                         const FileCheck& check);

}  // namespace edgeqat::internal
