// SPDX-License-Identifier: Apache-2.0
// The text under the metadata key "edgeqat" and the checksum over the header.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file_check.h"
#include "edgeqat/tensor.h"

namespace edgeqat::internal {

inline constexpr char kMetaKey[] = "edgeqat";
inline constexpr char kHeaderChecksumKey[] = "edgeqat_crc32c";

// What the metadata says about one quantized tensor.
struct PackedMeta {
  int bits = 8;
  std::vector<std::int64_t> shape;
  bool is_signed = true;
  std::optional<std::int64_t> axis;
  std::optional<std::int64_t> group_size;
  std::string scale;
  std::string zero_point;
};

struct CheckpointMeta {
  std::int64_t version = 0;
  std::string kind;
  std::string layout;
  std::string producer;
  std::string plan;   // empty: none
  std::string graph;  // empty: none
  std::map<std::string, PackedMeta> packed;
  std::map<std::string, std::uint32_t> checksums;  // by tensor
  std::map<std::string, std::string> extra;        // JSON text of other members
};

// Checks the texts inside and joins them.
std::string MetaText(const CheckpointMeta& meta, const FileCheck& check);

// The inverse. `is_tensor` says whether the file has a tensor of that name: entries for others are
// refused before they take memory.
CheckpointMeta ParseMeta(std::string_view text,
                         const std::function<bool(const std::string&)>& is_tensor,
                         const FileCheck& check);

// Adds to the header's checksum, in this order: every metadata entry but kHeaderChecksumKey by
// rising key, then every tensor by rising name.
class HeaderDigest {
 public:
  explicit HeaderDigest(const std::map<std::string, std::string>& metadata);
  void Add(std::string_view name, std::string_view dtype, const std::vector<std::int64_t>& shape);
  [[nodiscard]] std::string Text() const;

 private:
  std::uint32_t crc_ = 0;
};

}  // namespace edgeqat::internal
