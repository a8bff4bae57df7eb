// SPDX-License-Identifier: Apache-2.0
// SaveCheckpoint: checks, checksums, then one streamed write.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/checkpoint_check.h"
#include "core/checkpoint_meta.h"
#include "core/crc32c.h"
#include "core/long_text.h"
#include "edgeqat/checkpoint.h"
#include "edgeqat/packing.h"
#include "edgeqat/safetensors.h"

namespace edgeqat {
namespace {

using internal::FileCheck;

// Codes packed at a time: whole bytes for every width, and small beside any model.
constexpr std::size_t kPiece = std::size_t{1} << 18;

void CheckView(const std::string& field, const TensorView& tensor, const FileCheck& check) {
  const std::size_t bytes = NumBytes(tensor.dtype, tensor.shape);
  if (tensor.data.size() != bytes) {
    check.Fail(field, absl::StrCat(bytes, " bytes for shape ", ShapeString(tensor.shape)),
               absl::StrCat(tensor.data.size()));
  }
}

SafetensorsItem PlainItem(const std::string& name, const TensorView& tensor,
                          const FileCheck& check) {
  CheckView(FileCheck::Field("tensors", name, "data"), tensor, check);
  if (tensor.dtype == DType::kBool) internal::CheckBool(tensor.data, name, check);
  return {name, SafetensorsDType(tensor.dtype), tensor.shape,
          [&tensor](const ByteSink& sink) { sink(tensor.data); }};
}

// Gives the codes packed, piece by piece.
void WritePacked(const TensorView& codes, int container, const ByteSink& sink) {
  const bool is_signed = codes.dtype == DType::kInt8;
  std::vector<std::uint8_t> packed;
  for (std::size_t at = 0; at < codes.data.size(); at += kPiece) {
    const std::size_t count = std::min(kPiece, codes.data.size() - at);
    packed.resize(
        static_cast<std::size_t>(PackedBytes(static_cast<std::int64_t>(count), container)));
    pack(codes.data.data() + at, is_signed, static_cast<std::int64_t>(count), container,
         packed.data());
    sink(std::as_bytes(std::span(packed)));
  }
}

SafetensorsItem PackedItem(const std::string& name, const PackedTensorView& packed,
                           const FileCheck& check) {
  const TensorView& codes = packed.codes;
  if (codes.dtype != DType::kInt8 && codes.dtype != DType::kUint8) {
    check.Fail(FileCheck::Field("tensors", name, "codes"), "int8 or uint8",
               std::string(DTypeName(codes.dtype)));
  }
  CheckView(FileCheck::Field("tensors", name, "codes"), codes, check);
  internal::CheckCodes(name, codes, packed.bits, check);
  const int container = internal::ContainerBits(packed.bits);
  if (container == 8) {
    return {name, SafetensorsDType(codes.dtype), codes.shape,
            [&codes](const ByteSink& sink) { sink(codes.data); }};
  }
  const std::int64_t bytes = PackedBytes(static_cast<std::int64_t>(codes.data.size()), container);
  return {name, "U8", {bytes}, [&codes, container](const ByteSink& sink) {
            WritePacked(codes, container, sink);
          }};
}

}  // namespace

void SaveCheckpoint(const std::string& path, const CheckpointView& checkpoint) {
  const FileCheck check(ErrorCode::kInvalidArgument, path, "nothing was written");
  const internal::TensorLookup lookup = [&](const std::string& name) -> std::optional<TensorView> {
    const auto found = checkpoint.tensors.find(name);
    return found == checkpoint.tensors.end() ? std::nullopt : std::optional(found->second);
  };
  internal::CheckpointMeta meta;
  std::vector<SafetensorsItem> items;
  for (const auto& [name, tensor] : checkpoint.tensors)
    items.push_back(PlainItem(name, tensor, check));
  for (const auto& [name, packed] : checkpoint.packed) {
    const internal::PackedMeta entry{
        packed.bits,      packed.codes.shape, packed.codes.dtype == DType::kInt8,
        packed.axis,      packed.group_size,  packed.scale,
        packed.zero_point};
    internal::CheckPacked(name, entry, lookup, check);
    items.push_back(PackedItem(name, packed, check));
    meta.packed.emplace(name, entry);
  }
  for (const SafetensorsItem& item : items) {
    std::uint32_t crc = 0;
    item.write([&](std::span<const std::byte> bytes) { crc = internal::Crc32c(bytes, crc); });
    meta.checksums[item.name] = crc;
  }
  meta.plan = checkpoint.plan;
  meta.graph = checkpoint.graph;
  meta.extra = checkpoint.extra;
  std::map<std::string, std::string> metadata = {
      {"format", "pt"},
      {internal::kMetaKey, internal::CompressText(internal::MetaText(meta, check))}};
  if (!meta.graph.empty()) internal::CheckGraph(meta.graph, meta.packed, lookup, check);
  std::ranges::sort(items, {}, &SafetensorsItem::name);
  internal::HeaderDigest digest(metadata);
  for (const SafetensorsItem& item : items) digest.Add(item.name, item.dtype, item.shape);
  metadata.emplace(internal::kHeaderChecksumKey, digest.Text());
  WriteSafetensors(path, std::move(items), metadata);
}

void SaveCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  CheckpointView view{checkpoint.plan, checkpoint.graph, {}, {}, checkpoint.extra};
  for (const auto& [name, tensor] : checkpoint.tensors) view.tensors.emplace(name, tensor);
  for (const auto& [name, packed] : checkpoint.packed) {
    view.packed.emplace(name, PackedTensorView{packed.codes, packed.bits, packed.axis,
                                               packed.group_size, packed.scale, packed.zero_point});
  }
  SaveCheckpoint(path, view);
}

}  // namespace edgeqat
