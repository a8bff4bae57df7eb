// SPDX-License-Identifier: Apache-2.0
// Long metadata texts, compressed: the plan and graph of a network of 20 layers are 60 kB of JSON,
// a third of its INT4 weights, and 9 kB compressed.
#pragma once

#include <string>
#include <string_view>

#include "core/file_check.h"

namespace edgeqat::internal {

// Texts up to kPlainText bytes stay as they are; from kPlainText to kLongestText bytes they become
// "zlib:<bytes>:<base64 of the zlib stream>"; longer ones stay as they are. 4 MiB are the plan and
// graph of 1,300 layers; the text and the copies of its parts then stay below 16 MB, which is what
// a small file may make a reader allocate.
inline constexpr std::size_t kPlainText = std::size_t{4} << 10;
inline constexpr std::size_t kLongestText = std::size_t{4} << 20;

std::string CompressText(std::string text);

// The inverse. Fails with kCorruptFile unless the stream is whole and has exactly the bytes that it
// says.
std::string ExpandText(const std::string& stored, const std::string& field, const FileCheck& check);

}  // namespace edgeqat::internal
