// SPDX-License-Identifier: Apache-2.0
// The quantized checkpoint: one safetensors file that says all about itself.
//
//   edgeqat::SaveCheckpoint("model.safetensors", checkpoint);
//   edgeqat::Checkpoint again = edgeqat::LoadCheckpoint("model.safetensors");
//
// Data of the file, readable by every safetensors library:
//   "conv.weight"        8 bits: I8 (signed) or U8, of the weight's shape.
//                        2 to 7 bits: U8 of one dimension, packed by packing.h; an odd width lies
//                        in the next of 2, 4, 8.
//   "conv.weight.scale"  F32, and "conv.weight.zero_point" I32
//   "conv.bias", ...     what stayed float, under its own name
//
// Metadata (text):
//   "format"          "pt"
//   "edgeqat"         JSON; from 4 KiB to 4 MiB as "zlib:<bytes>:<base64 of the zlib stream>"
//       {"version": 1, "kind": "quantized", "layout": "lsb-first-v1", "producer": "edgeqat 0.1.0",
//        "plan": {...}, "graph": {...},
//        "tensors": {"conv.weight": {"bits": 4, "shape": [8, 3, 3, 3], "signed": true, "axis": 0,
//                                    "group_size": null, "scale": "conv.weight.scale",
//                                    "zero_point": "conv.weight.zero_point"}},
//        "checksum": {"algorithm": "crc32c", "tensors": {"conv.weight": "e3069283"}}}
//   "edgeqat_crc32c"  8 digits over all other metadata and each tensor's name, dtype and shape
//
// A checksum over meaning, not over the header's bytes: a tool that copies tensors and metadata
// into a new safetensors file leaves it valid. CRC-32C because it finds every single flipped bit
// and runs at 30 GB/s on one core, 20 times SHA-256; it guards against damage, not forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/tensor.h"

namespace edgeqat {

// A tensor somewhere else: saving copies nothing. `data` must outlive the call.
struct TensorView {
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;

  TensorView() = default;
  TensorView(DType type, std::vector<std::int64_t> extents, std::span<const std::byte> bytes)
      : dtype(type), shape(std::move(extents)), data(bytes) {}
  TensorView(const Tensor& tensor)  // NOLINT: a tensor is a view of itself
      : dtype(tensor.dtype), shape(tensor.shape), data(tensor.data) {}
};

// A quantized tensor: integer codes, one byte each in memory, and how they become real numbers:
// (code - zero_point) * scale.
template <typename T>
struct BasicPackedTensor {
  T codes;                                 // int8 (signed) or uint8, of the weight's shape
  int bits = 8;                            // 2..8; every code fits
  std::optional<std::int64_t> axis;        // none: one scale for the tensor
  std::optional<std::int64_t> group_size;  // along axis; none: one scale per index of axis
  std::string scale;                       // name of a float32 tensor of the checkpoint
  std::string zero_point;                  // name of an int32 tensor of the same shape
  friend bool operator==(const BasicPackedTensor&, const BasicPackedTensor&) = default;
};

template <typename T>
struct BasicCheckpoint {
  std::string plan;                  // text of a JSON object; empty: none
  std::string graph;                 // text of a graph (graph.h); empty: none
  std::map<std::string, T> tensors;  // float leftovers, scales, zero points
  std::map<std::string, BasicPackedTensor<T>> packed;
  std::map<std::string, std::string>
      extra;  // further members of "edgeqat": JSON text, kept verbatim
  friend bool operator==(const BasicCheckpoint&, const BasicCheckpoint&) = default;
};

using PackedTensor = BasicPackedTensor<Tensor>;
using Checkpoint = BasicCheckpoint<Tensor>;
using PackedTensorView = BasicPackedTensor<TensorView>;
using CheckpointView = BasicCheckpoint<TensorView>;

inline constexpr std::int64_t kCheckpointVersion = 1;

// Writes atomically. The same checkpoint gives the same bytes. Errors: kInvalidArgument naming the
// field where the checkpoint contradicts itself (see LoadCheckpoint), kIo where the system refuses;
// the old file then stays.
void SaveCheckpoint(const std::string& path, const CheckpointView& checkpoint);
void SaveCheckpoint(const std::string& path, const Checkpoint& checkpoint);

struct LoadOptions {
  bool verify = true;  // compare the checksums; damage to the data is found only so
};

// Reads and checks all: bits against bytes, codes within their bits, scales finite and > 0 and of
// the shape that axis and group_size ask for, zero points within the codes, every constant of the
// graph present with its shape, dtype and bits.
// Errors: kCorruptFile naming file, field, what was expected and found (also for a version newer
// than kCheckpointVersion), kIo where the system refuses.
[[nodiscard]] Checkpoint LoadCheckpoint(const std::string& path, const LoadOptions& options = {});

struct CheckpointEntry {
  std::string name;
  std::string dtype;                // code of the safetensors format
  std::vector<std::int64_t> shape;  // of the weight, also where the bytes are packed
  std::uint64_t bytes = 0;          // in the file
  int bits = 0;                     // 2..8 for a quantized tensor, 0 for the others
};

struct CheckpointHeader {
  std::int64_t version = 0;
  std::string kind;
  std::string layout;
  std::string producer;
  std::string plan;
  std::string graph;
  std::vector<CheckpointEntry> entries;  // sorted by name
};

// What the file says about itself, without reading its data; the header's checksum is compared.
[[nodiscard]] CheckpointHeader ReadCheckpointHeader(const std::string& path);

}  // namespace edgeqat
