// SPDX-License-Identifier: Apache-2.0
// Reads and writes the safetensors format, strictly: what the format's own library refuses is
// refused here, before any memory is taken for it.
//
//   edgeqat::SafetensorsReader reader("model.safetensors");
//   for (const auto& entry : reader.entries()) { ... reader.Read(entry, 0, bytes); }
//
// A file is 8 bytes (little-endian length n of the header), n bytes of JSON, then the data:
//   {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3],
//    "data_offsets": [0, 24]}, ...}
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "edgeqat/tensor.h"

namespace edgeqat {

// A file beyond one of these is refused. They bound the memory and time that a small file can
// demand; the length of the header is compared with the file before the header is read.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxSafetensorsTensors = 1'000'000;
inline constexpr std::size_t kMaxSafetensorsName = 65'536;
inline constexpr std::size_t kMaxSafetensorsDims = 8;

// "F32", "F16", "BF16", "I8", "U8", "I32", "I64" or "BOOL".
[[nodiscard]] std::string_view SafetensorsDType(DType dtype);

// The inverse; nullopt for the codes that the core has no type for ("F64", "U16", ...).
[[nodiscard]] std::optional<DType> DTypeFromSafetensors(std::string_view code);

struct SafetensorsEntry {
  std::string name;
  std::string_view dtype;  // static text, one of the format's codes
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // from the start of the data
  std::uint64_t end = 0;
  [[nodiscard]] std::uint64_t size() const { return end - begin; }
};

class SafetensorsReader {
 public:
  // Opens and checks the whole header: no unknown or duplicate key, no hole, no overlap, nothing
  // behind the last tensor, every size equal to shape times element size.
  // Errors: kCorruptFile naming the field, kIo where the system refuses.
  explicit SafetensorsReader(const std::string& path);
  ~SafetensorsReader();
  SafetensorsReader(const SafetensorsReader&) = delete;
  SafetensorsReader& operator=(const SafetensorsReader&) = delete;

  [[nodiscard]] const std::vector<SafetensorsEntry>& entries() const;  // sorted by name
  [[nodiscard]] const SafetensorsEntry* Find(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const;

  // Fills `out` from byte `offset` of the tensor. Errors: kOutOfRange beyond its end, kIo.
  void Read(const SafetensorsEntry& entry, std::uint64_t offset, std::span<std::byte> out) const;

  // The whole tensor. Errors: kUnsupported where DTypeFromSafetensors has no answer, kCorruptFile
  // where a BOOL is neither 0 nor 1.
  [[nodiscard]] Tensor Read(const SafetensorsEntry& entry) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

using ByteSink = std::function<void(std::span<const std::byte>)>;

struct SafetensorsItem {
  std::string name;
  std::string_view dtype;
  std::vector<std::int64_t> shape;
  std::function<void(const ByteSink&)>
      write;  // gives the tensor's bytes, in as many pieces as it likes
};

// Writes atomically (atomic_file.h) and streams: no copy of a tensor is made. The same items and
// metadata give the same bytes: tensors lie in order of falling element size, then name, so that
// each is aligned for its type. Errors: kInvalidArgument (a duplicate or overlong name, text that
// is not UTF-8, a `write` that gives other than the announced bytes), kIo.
void WriteSafetensors(const std::string& path, std::vector<SafetensorsItem> items,
                      const std::map<std::string, std::string>& metadata);

}  // namespace edgeqat
