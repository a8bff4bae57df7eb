// SPDX-License-Identifier: Apache-2.0
// LoadCheckpoint and ReadCheckpointHeader: structure first, then data in small pieces.
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

using internal::CheckpointMeta;
using internal::FileCheck;
using internal::PackedMeta;

// Bytes read at a time: they are still in the cache when the checksum and the unpacking look at
// them.
constexpr std::size_t kPiece = std::size_t{1} << 18;

class Loader {
 public:
  explicit Loader(const std::string& path) : check_(internal::ReadCheck(path)), reader_(path) {
    const auto& metadata = reader_.metadata();
    const auto text = metadata.find(internal::kMetaKey);
    if (text == metadata.end()) {
      check_.Fail("__metadata__[edgeqat]", "the description of a quantized model",
                  "none: edgeqat did not write this file");
    }
    meta_ = internal::ParseMeta(
        internal::ExpandText(text->second, "__metadata__[edgeqat]", check_),
        [this](const std::string& name) { return reader_.Find(name) != nullptr; }, check_);
  }

  [[nodiscard]] const CheckpointMeta& meta() const { return meta_; }
  [[nodiscard]] const SafetensorsReader& reader() const { return reader_; }

  void VerifyHeader() const {
    const auto& metadata = reader_.metadata();
    const auto said = metadata.find(internal::kHeaderChecksumKey);
    if (said == metadata.end()) {
      check_.Fail(absl::StrCat("__metadata__[", internal::kHeaderChecksumKey, "]"),
                  "8 hexadecimal digits; load without verifying if the file is known to be good",
                  "none");
    }
    internal::HeaderDigest digest(metadata);
    for (const SafetensorsEntry& entry : reader_.entries())
      digest.Add(entry.name, entry.dtype, entry.shape);
    if (digest.Text() != said->second) {
      check_.Fail(absl::StrCat("__metadata__[", internal::kHeaderChecksumKey, "]"),
                  absl::StrCat(digest.Text(), ", the checksum of the header"),
                  absl::StrCat("'", internal::Printable(said->second), "'"));
    }
  }

  // Packed bytes against bits and shape; before any memory is taken for the codes.
  void CheckStorage(const std::string& name, const PackedMeta& packed) const {
    const SafetensorsEntry& entry = *reader_.Find(name);
    std::int64_t count = 0;
    try {
      count = NumElements(packed.shape);
    } catch (const Error&) {
      check_.Fail(FileCheck::Field("tensors", name, "shape"), "fewer than 2^63 elements",
                  ShapeString(packed.shape));
    }
    const int container = internal::ContainerBits(packed.bits);
    const bool plain = container == 8;
    const std::string_view dtype = plain && packed.is_signed ? "I8" : "U8";
    if (entry.dtype != dtype) {
      check_.Fail(FileCheck::Field("header", name, "dtype"),
                  absl::StrCat(std::string(dtype), " for ", packed.bits, " bits"),
                  std::string(entry.dtype));
    }
    // 2 bits are the narrowest code, so a count over 4 times the bytes cannot be right; said first
    // because count * bits would overflow.
    const bool fits = static_cast<std::uint64_t>(count) / 4 <= entry.size();
    const std::vector<std::int64_t> shape =
        plain ? packed.shape : std::vector<std::int64_t>{fits ? PackedBytes(count, container) : -1};
    if (entry.shape != shape) {
      check_.Fail(FileCheck::Field("tensors", name, "shape"),
                  absl::StrCat(ShapeString(entry.shape), " of ", std::string(entry.dtype),
                               ", as the file holds"),
                  absl::StrCat(ShapeString(packed.shape), " of ", packed.bits, " bits"));
    }
  }

  // Fails before allocation where the core has no type.
  [[nodiscard]] DType TypeOf(const SafetensorsEntry& entry) const {
    const std::optional<DType> dtype = DTypeFromSafetensors(entry.dtype);
    if (!dtype) {
      check_.Fail(FileCheck::Field("header", entry.name, "dtype"),
                  "F32, F16, BF16, I8, U8, I32, I64 or BOOL", std::string(entry.dtype));
    }
    return *dtype;
  }

  [[nodiscard]] Tensor ReadPlain(const SafetensorsEntry& entry, bool verify) const {
    Tensor tensor = Tensor::Zeros(TypeOf(entry), entry.shape);
    Stream(entry, verify, tensor.data, [](std::uint64_t, std::span<const std::byte>) {});
    if (tensor.dtype == DType::kBool) internal::CheckBool(tensor.data, entry.name, check_);
    return tensor;
  }

  [[nodiscard]] Tensor ReadCodes(const SafetensorsEntry& entry, const PackedMeta& packed,
                                 bool verify) const {
    Tensor codes = Tensor::Zeros(packed.is_signed ? DType::kInt8 : DType::kUint8, packed.shape);
    const int container = internal::ContainerBits(packed.bits);
    if (container == 8) {
      Stream(entry, verify, codes.data, [](std::uint64_t, std::span<const std::byte>) {});
    } else {
      std::vector<std::byte> piece(std::min<std::uint64_t>(kPiece, entry.size()));
      const auto per_byte = static_cast<std::size_t>(8 / container);
      Stream(entry, verify, piece, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
        const std::size_t first = static_cast<std::size_t>(offset) * per_byte;
        const std::size_t count = std::min(bytes.size() * per_byte, codes.data.size() - first);
        CheckSpareBits(entry.name, bytes, count, container);
        unpack(reinterpret_cast<const std::uint8_t*>(bytes.data()),
               static_cast<std::int64_t>(count), container, packed.is_signed,
               codes.data.data() + first);
      });
    }
    // Codes of 2, 4 and 8 bits fill their container and cannot leave it.
    if (packed.bits != container) internal::CheckCodes(entry.name, codes, packed.bits, check_);
    return codes;
  }

  [[nodiscard]] const FileCheck& check() const { return check_; }

 private:
  // Reads the tensor piece by piece: to its place where `out` has room for all, otherwise into
  // `out` again and again; compares the checksum at the end.
  template <typename Use>
  void Stream(const SafetensorsEntry& entry, bool verify, std::span<std::byte> out, Use use) const {
    std::uint32_t crc = 0;
    for (std::uint64_t at = 0; at < entry.size(); at += kPiece) {
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, entry.size() - at));
      const std::span<std::byte> piece =
          out.size() == entry.size() ? out.subspan(at, count) : out.first(count);
      reader_.Read(entry, at, piece);
      if (verify) crc = internal::Crc32c(piece, crc);
      use(at, piece);
    }
    if (verify) VerifyTensor(entry.name, crc);
  }

  void VerifyTensor(const std::string& name, std::uint32_t crc) const {
    const auto said = meta_.checksums.find(name);
    if (said != meta_.checksums.end() && said->second == crc) return;
    check_.Fail(FileCheck::Field("checksum.tensors", name),
                absl::StrCat(internal::Crc32cText(crc), ", the checksum of the data"),
                said == meta_.checksums.end() ? "none" : internal::Crc32cText(said->second));
  }

  // The last byte may hold fewer codes than it has room for; the rest must be 0.
  void CheckSpareBits(const std::string& name, std::span<const std::byte> bytes, std::size_t count,
                      int container) const {
    const std::size_t used = count * static_cast<std::size_t>(container) - (bytes.size() - 1) * 8;
    if (used < 8 && std::to_integer<unsigned>(bytes.back()) >> used != 0) {
      check_.Fail(FileCheck::Field("tensors", name, "codes"),
                  "0 in the spare bits of the last byte", "other bits");
    }
  }

  FileCheck check_;
  SafetensorsReader reader_;
  CheckpointMeta meta_;
};

}  // namespace

Checkpoint LoadCheckpoint(const std::string& path, const LoadOptions& options) {
  const Loader loader(path);
  const CheckpointMeta& meta = loader.meta();
  if (options.verify) loader.VerifyHeader();
  Checkpoint checkpoint;
  for (const SafetensorsEntry& entry : loader.reader().entries()) {
    if (meta.packed.contains(entry.name)) {
      loader.CheckStorage(entry.name, meta.packed.at(entry.name));
    } else {
      static_cast<void>(loader.TypeOf(entry));
    }
  }
  for (const SafetensorsEntry& entry : loader.reader().entries()) {
    if (!meta.packed.contains(entry.name)) {
      checkpoint.tensors.emplace(entry.name, loader.ReadPlain(entry, options.verify));
    }
  }
  const internal::TensorLookup lookup = [&](const std::string& name) -> std::optional<TensorView> {
    const auto found = checkpoint.tensors.find(name);
    return found == checkpoint.tensors.end() ? std::nullopt
                                             : std::optional<TensorView>(found->second);
  };
  for (const auto& [name, packed] : meta.packed)
    internal::CheckPacked(name, packed, lookup, loader.check());
  if (!meta.graph.empty()) internal::CheckGraph(meta.graph, meta.packed, lookup, loader.check());
  for (const auto& [name, packed] : meta.packed) {
    PackedTensor tensor{{},           packed.bits,      packed.axis, packed.group_size,
                        packed.scale, packed.zero_point};
    tensor.codes = loader.ReadCodes(*loader.reader().Find(name), packed, options.verify);
    checkpoint.packed.emplace(name, std::move(tensor));
  }
  checkpoint.plan = meta.plan;
  checkpoint.graph = meta.graph;
  checkpoint.extra = meta.extra;
  return checkpoint;
}

CheckpointHeader ReadCheckpointHeader(const std::string& path) {
  const Loader loader(path);
  loader.VerifyHeader();
  const CheckpointMeta& meta = loader.meta();
  CheckpointHeader header{meta.version, meta.kind,  meta.layout, meta.producer,
                          meta.plan,    meta.graph, {}};
  for (const SafetensorsEntry& entry : loader.reader().entries()) {
    const auto packed = meta.packed.find(entry.name);
    const bool is_packed = packed != meta.packed.end();
    if (is_packed) loader.CheckStorage(entry.name, packed->second);
    header.entries.push_back({entry.name, std::string(entry.dtype),
                              is_packed ? packed->second.shape : entry.shape, entry.size(),
                              is_packed ? packed->second.bits : 0});
  }
  return header;
}

}  // namespace edgeqat
