// SPDX-License-Identifier: Apache-2.0
// Opens a safetensors file, bounds its header before reading it, and reads tensors by offset.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "core/file_check.h"
#include "core/safetensors_header.h"
#include "edgeqat/safetensors.h"

namespace edgeqat {
namespace {

struct Code {
  DType dtype;
  std::string_view text;
};

constexpr std::array<Code, 8> kCodes = {{{DType::kFloat32, "F32"},
                                         {DType::kFloat16, "F16"},
                                         {DType::kBFloat16, "BF16"},
                                         {DType::kInt8, "I8"},
                                         {DType::kUint8, "U8"},
                                         {DType::kInt32, "I32"},
                                         {DType::kInt64, "I64"},
                                         {DType::kBool, "BOOL"}}};

}  // namespace

std::string_view SafetensorsDType(DType dtype) {
  return std::ranges::find(kCodes, dtype, &Code::dtype)->text;
}

std::optional<DType> DTypeFromSafetensors(std::string_view code) {
  const auto* found = std::ranges::find(kCodes, code, &Code::text);
  return found == kCodes.end() ? std::nullopt : std::optional(found->dtype);
}

struct SafetensorsReader::State {
  explicit State(const std::string& path) : file(path), check(internal::ReadCheck(path)) {
    if (file.size() < 8) {
      check.Fail("header length", "a file of at least 8 bytes",
                 absl::StrCat(file.size(), " bytes"));
    }
    std::array<std::byte, 8> raw{};
    file.ReadAt(0, raw);
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<std::uint64_t>(raw[i]);
    const std::uint64_t limit = std::min(kMaxSafetensorsHeader, file.size() - 8);
    if (length > limit) {
      check.Fail("header length",
                 absl::StrCat("at most ", limit, " in a file of ", file.size(), " bytes"),
                 absl::StrCat(length));
    }
    std::string text(length, '\0');
    file.ReadAt(8, std::as_writable_bytes(std::span(text)));
    data = 8 + length;
    header = internal::ParseSafetensorsHeader(text, file.size() - data, check);
  }

  internal::ReadOnlyFile file;
  internal::FileCheck check;
  std::uint64_t data = 0;  // offset of the data in the file
  internal::SafetensorsHeader header;
};

SafetensorsReader::SafetensorsReader(const std::string& path)
    : state_(std::make_unique<State>(path)) {}
SafetensorsReader::~SafetensorsReader() = default;

const std::vector<SafetensorsEntry>& SafetensorsReader::entries() const {
  return state_->header.entries;
}

const std::map<std::string, std::string>& SafetensorsReader::metadata() const {
  return state_->header.metadata;
}

const SafetensorsEntry* SafetensorsReader::Find(std::string_view name) const {
  const auto& entries = state_->header.entries;
  const auto found = std::ranges::lower_bound(entries, name, {}, [](const SafetensorsEntry& entry) {
    return std::string_view(entry.name);
  });
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

void SafetensorsReader::Read(const SafetensorsEntry& entry, std::uint64_t offset,
                             std::span<std::byte> out) const {
  if (offset > entry.size() || out.size() > entry.size() - offset) {
    throw Error(ErrorCode::kOutOfRange,
                absl::StrCat("SafetensorsReader::Read: offset: expected at most ", entry.size(),
                             " bytes of ", internal::Printable(entry.name), ", found ", out.size(),
                             " from byte ", offset));
  }
  state_->file.ReadAt(state_->data + entry.begin + offset, out);
}

Tensor SafetensorsReader::Read(const SafetensorsEntry& entry) const {
  const std::optional<DType> dtype = DTypeFromSafetensors(entry.dtype);
  if (!dtype) {
    throw Error(
        ErrorCode::kUnsupported,
        absl::StrCat(
            internal::Printable(state_->file.path(), 1024), ": field '",
            internal::FileCheck::Field("header", entry.name, "dtype"),
            "': expected float32, float16, bfloat16, int8, uint8, int32, int64 or bool, found ",
            std::string(entry.dtype), "; convert the tensor before saving"));
  }
  Tensor tensor = Tensor::Zeros(*dtype, entry.shape);
  Read(entry, 0, tensor.data);
  if (dtype == DType::kBool) internal::CheckBool(tensor.data, entry.name, state_->check);
  return tensor;
}

}  // namespace edgeqat
