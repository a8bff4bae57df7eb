// SPDX-License-Identifier: Apache-2.0
// Lays out the header, then streams the tensors behind it.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "core/file_check.h"
#include "core/safetensors_dtype.h"
#include "edgeqat/atomic_file.h"
#include "edgeqat/safetensors.h"

namespace edgeqat {
namespace {

using internal::FileCheck;

std::string Quoted(const std::string& text, const std::string& field, const FileCheck& check) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    check.Fail(field, "text in UTF-8", internal::Printable(text));
  }
}

std::size_t ElementSize(const SafetensorsItem& item, const FileCheck& check) {
  const internal::SafetensorsType* type = internal::FindSafetensorsType(item.dtype);
  if (type == nullptr) {
    check.Fail(FileCheck::Field("items", item.name, "dtype"), "a type of the safetensors format",
               internal::Printable(item.dtype));
  }
  return type->size;
}

std::uint64_t ItemBytes(const SafetensorsItem& item, std::size_t element_size,
                        const FileCheck& check) {
  const auto count = static_cast<std::uint64_t>(NumElements(item.shape));
  std::uint64_t bytes = 0;
  if (item.shape.size() > kMaxSafetensorsDims ||
      __builtin_mul_overflow(count, element_size, &bytes) || bytes > std::uint64_t{1} << 62) {
    check.Fail(FileCheck::Field("items", item.name, "shape"),
               absl::StrCat("at most ", kMaxSafetensorsDims, " dimensions and 2^62 bytes"),
               ShapeString(item.shape));
  }
  return bytes;
}

void CheckNames(const std::vector<SafetensorsItem>& items, const FileCheck& check) {
  if (items.size() > kMaxSafetensorsTensors) {
    check.Fail("items", absl::StrCat("at most ", kMaxSafetensorsTensors, " tensors"),
               absl::StrCat(items.size()));
  }
  std::vector<std::string_view> names;
  names.reserve(items.size());
  for (const SafetensorsItem& item : items) {
    if (item.name.size() > kMaxSafetensorsName || item.name == "__metadata__") {
      check.Fail(FileCheck::Field("items", item.name),
                 absl::StrCat("a name of at most ", kMaxSafetensorsName,
                              " bytes that is not __metadata__"),
                 absl::StrCat(item.name.size(), " bytes"));
    }
    names.emplace_back(item.name);
  }
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) {
    check.Fail(FileCheck::Field("items", *twice), "each name once", "it twice");
  }
}

std::string MetadataJson(const std::map<std::string, std::string>& metadata,
                         const FileCheck& check) {
  std::string text = "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    const std::string field = FileCheck::Field("metadata", key);
    absl::StrAppend(&text, text.back() == '{' ? "" : ",", Quoted(key, field, check), ":",
                    Quoted(value, field, check));
  }
  return text + "}";
}

}  // namespace

void WriteSafetensors(const std::string& path, std::vector<SafetensorsItem> items,
                      const std::map<std::string, std::string>& metadata) {
  const FileCheck check(ErrorCode::kInvalidArgument, path, "nothing was written");
  CheckNames(items, check);
  std::ranges::sort(items, [&](const SafetensorsItem& a, const SafetensorsItem& b) {
    const std::size_t size_a = ElementSize(a, check);
    const std::size_t size_b = ElementSize(b, check);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  std::string header = "{";
  if (!metadata.empty()) header += MetadataJson(metadata, check);
  std::uint64_t offset = 0;
  std::vector<std::uint64_t> sizes;
  for (const SafetensorsItem& item : items) {
    sizes.push_back(ItemBytes(item, ElementSize(item, check), check));
    absl::StrAppend(&header, header.size() == 1 ? "" : ",",
                    Quoted(item.name, FileCheck::Field("items", item.name), check),
                    ":{\"dtype\":\"", std::string(item.dtype), "\",\"shape\":[");
    for (std::size_t i = 0; i < item.shape.size(); ++i)
      absl::StrAppend(&header, i == 0 ? "" : ",", item.shape[i]);
    absl::StrAppend(&header, "],\"data_offsets\":[", offset, ",", offset + sizes.back(), "]}");
    offset += sizes.back();
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the data starts at a multiple of 8
  if (header.size() > kMaxSafetensorsHeader) {
    check.Fail("header", absl::StrCat("at most ", kMaxSafetensorsHeader, " bytes"),
               absl::StrCat(header.size()));
  }
  std::array<std::byte, 8> length{};
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i));

  AtomicWriter writer(path);
  writer.Write(length);
  writer.Write(std::as_bytes(std::span(header)));
  for (std::size_t i = 0; i < items.size(); ++i) {
    std::uint64_t left = sizes[i];
    const auto wrong_size = [&](const char* found) {
      check.Fail(FileCheck::Field("items", items[i].name, "write"),
                 absl::StrCat(sizes[i], " bytes"), found);
    };
    items[i].write([&](std::span<const std::byte> bytes) {
      if (bytes.size() > left) wrong_size("more");
      left -= bytes.size();
      writer.Write(bytes);
    });
    if (left != 0) wrong_size("fewer");
  }
  writer.Commit();
}

}  // namespace edgeqat
