// SPDX-License-Identifier: Apache-2.0
// The element types of the safetensors format and their sizes, for its reader and writer.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace edgeqat::internal {

struct SafetensorsType {
  std::string_view code;
  std::size_t size;  // bytes of one element
};

// The format's types of less than a byte (F4, F6) are left out and therefore refused.
inline constexpr std::array<SafetensorsType, 15> kSafetensorsTypes = {{{"BOOL", 1},
                                                                       {"U8", 1},
                                                                       {"I8", 1},
                                                                       {"F8_E4M3", 1},
                                                                       {"F8_E5M2", 1},
                                                                       {"I16", 2},
                                                                       {"U16", 2},
                                                                       {"F16", 2},
                                                                       {"BF16", 2},
                                                                       {"I32", 4},
                                                                       {"U32", 4},
                                                                       {"F32", 4},
                                                                       {"I64", 8},
                                                                       {"U64", 8},
                                                                       {"F64", 8}}};

// nullptr where the code is unknown.
constexpr const SafetensorsType* FindSafetensorsType(std::string_view code) {
  for (const SafetensorsType& type : kSafetensorsTypes) {
    if (type.code == code) return &type;
  }
  return nullptr;
}

}  // namespace edgeqat::internal
