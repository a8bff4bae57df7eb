// SPDX-License-Identifier: Apache-2.0
// A streaming JSON handler that accepts the shape of a safetensors header and nothing else. No
// document tree is built: one of a 100 MB header would take more than a gigabyte.
#include "core/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/safetensors_dtype.h"

namespace edgeqat::internal {
namespace {

using Json = nlohmann::json;

constexpr char kMetadata[] = "__metadata__";

class HeaderHandler {
 public:
  HeaderHandler(std::uint64_t data_size, const FileCheck& check, SafetensorsHeader& header)
      : data_size_(data_size), check_(check), header_(header) {}

  bool null() { Unexpected("null"); }
  bool boolean(bool) { Unexpected("a boolean"); }
  bool number_integer(std::int64_t value) { Unexpected(absl::StrCat(value)); }
  bool number_float(double, const std::string& text) { Unexpected(Printable(text)); }
  bool binary(Json::binary_t&) { Unexpected("binary data"); }

  bool number_unsigned(std::uint64_t value) {
    if (list_ == nullptr) Unexpected(absl::StrCat(value));
    if (list_ == &shape_ && shape_.size() == kMaxSafetensorsDims) {
      check_.Fail(Here("shape"), absl::StrCat("at most ", kMaxSafetensorsDims, " dimensions"),
                  "more");
    }
    if (list_ == &offsets_ && offsets_.size() == 2) Offsets("more than two");
    if (value > std::numeric_limits<std::int64_t>::max()) {
      check_.Fail(Here(key_), "numbers below 2^63", absl::StrCat(value));
    }
    list_->push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::kMetadata) {
      if (!header_.metadata.emplace(key_, std::move(value)).second) Duplicate(kMetadata, key_);
      return true;
    }
    if (place_ != Place::kEntry || key_ != "dtype") Unexpected("text");
    const SafetensorsType* type = FindSafetensorsType(value);
    if (type == nullptr) {
      check_.Fail(Here("dtype"), "a type of the safetensors format with whole bytes",
                  absl::StrCat("'", Printable(value), "'"));
    }
    entry_.dtype = type->code;
    element_size_ = type->size;
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && entry_.name == kMetadata) {
      if (std::exchange(has_metadata_, true)) Duplicate("header", kMetadata);
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      place_ = Place::kEntry;
      seen_ = 0;
    } else {
      Unexpected("an object");
    }
    return true;
  }

  bool key(std::string& name) {
    if (place_ == Place::kTop) {
      if (name.size() > kMaxSafetensorsName) {
        check_.Fail(FileCheck::Field("header", name),
                    absl::StrCat("a name of at most ", kMaxSafetensorsName, " bytes"),
                    absl::StrCat(name.size(), " bytes"));
      }
      entry_.name = std::move(name);
      return true;
    }
    key_ = std::move(name);
    if (place_ == Place::kMetadata) return true;
    const unsigned bit = key_ == "dtype" ? 1 : key_ == "shape" ? 2 : key_ == "data_offsets" ? 4 : 0;
    if (bit == 0)
      check_.Fail(Here(Printable(key_)), "only dtype, shape and data_offsets", "another field");
    if ((seen_ & bit) != 0) Duplicate(FileCheck::Field("header", entry_.name), key_);
    seen_ |= bit;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ != Place::kEntry || list_ != nullptr) Unexpected("a list");
    if (key_ == "dtype") Unexpected("a list");
    list_ = key_ == "shape" ? &shape_ : &offsets_;
    list_->clear();
    return true;
  }

  bool end_array() {
    list_ = nullptr;
    return true;
  }

  bool end_object() {
    if (place_ == Place::kTop) return true;
    if (place_ == Place::kEntry) FinishEntry();
    place_ = Place::kTop;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) {
    check_.Fail(absl::StrCat("header, byte ", position + 7), "well-formed JSON in UTF-8",
                "something else");
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kEntry };

  [[nodiscard]] std::string Here(std::string_view member) const {
    return FileCheck::Field("header", entry_.name, member);
  }

  [[noreturn]] void Unexpected(const std::string& found) const {
    if (place_ == Place::kStart) check_.Fail("header", "an object", found);
    if (place_ == Place::kTop) check_.Fail(Here({}), "an object", found);
    if (place_ == Place::kMetadata) check_.Fail(FileCheck::Field(kMetadata, key_), "text", found);
    const bool is_list = list_ != nullptr;
    check_.Fail(Here(key_),
                is_list           ? "whole numbers >= 0"
                : key_ == "dtype" ? "text"
                                  : "a list",
                found);
  }

  [[noreturn]] void Duplicate(const std::string& section, const std::string& name) const {
    check_.Fail(FileCheck::Field(section, name), "each name once", "it twice");
  }

  [[noreturn]] void Offsets(const std::string& found) const {
    check_.Fail(
        Here("data_offsets"),
        absl::StrCat("[begin, end] with begin <= end <= ", data_size_, ", the bytes of data"),
        found);
  }

  void FinishEntry() {
    if (seen_ != 7) check_.Fail(Here({}), "dtype, shape and data_offsets", "one missing");
    if (offsets_.size() != 2) Offsets(absl::StrCat(offsets_.size(), " numbers"));
    entry_.begin = static_cast<std::uint64_t>(offsets_[0]);
    entry_.end = static_cast<std::uint64_t>(offsets_[1]);
    if (entry_.begin > entry_.end || entry_.end > data_size_) {
      Offsets(absl::StrCat("[", entry_.begin, ", ", entry_.end, "]"));
    }
    // Overflow is refused even where another extent is 0: the format's own reader does the same.
    std::uint64_t nonzero = element_size_;
    for (const std::int64_t extent : shape_) {
      const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(extent, 1));
      if (__builtin_mul_overflow(nonzero, factor, &nonzero)) {
        check_.Fail(Here("shape"), "fewer than 2^64 bytes", ShapeString(shape_));
      }
    }
    const std::uint64_t size = std::ranges::find(shape_, 0) == shape_.end() ? nonzero : 0;
    if (size != entry_.size()) {
      check_.Fail(Here("data_offsets"),
                  absl::StrCat(size, " bytes for shape ", ShapeString(shape_), " of ",
                               std::string(entry_.dtype)),
                  absl::StrCat(entry_.size(), " bytes"));
    }
    if (header_.entries.size() == kMaxSafetensorsTensors) {
      check_.Fail("header", absl::StrCat("at most ", kMaxSafetensorsTensors, " tensors"), "more");
    }
    entry_.shape = shape_;
    header_.entries.push_back(std::move(entry_));
  }

  std::uint64_t data_size_;
  const FileCheck& check_;
  SafetensorsHeader& header_;
  Place place_ = Place::kStart;
  SafetensorsEntry entry_;
  std::string key_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> offsets_;
  std::vector<std::int64_t>* list_ = nullptr;
  unsigned seen_ = 0;  // bits: dtype, shape, data_offsets
  std::size_t element_size_ = 0;
  bool has_metadata_ = false;
};

// Tensors in order of their place must touch: a hole could hide data, an overlap lets a small file
// pass for a large one.
void CheckLayout(std::vector<SafetensorsEntry>& entries, std::uint64_t data_size,
                 const FileCheck& check) {
  std::ranges::sort(entries, [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != end) {
      check.Fail(
          FileCheck::Field("header", entry.name, "data_offsets"),
          absl::StrCat("begin ", end, ", where the tensor before it ends"),
          absl::StrCat("begin ", entry.begin, entry.begin > end ? " (a hole)" : " (an overlap)"));
    }
    end = entry.end;
  }
  if (end != data_size) {
    check.Fail("data", absl::StrCat(end, " bytes, where the last tensor ends"),
               absl::StrCat(data_size, " bytes"));
  }
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view text, std::uint64_t data_size,
                                         const FileCheck& check) {
  if (!text.starts_with('{')) {
    check.Fail("header", "JSON that starts with '{'",
               text.empty() ? "nothing" : absl::StrCat("'", Printable(text.substr(0, 1)), "'"));
  }
  // The JSON library takes a NUL for the end of its input and would ignore what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    check.Fail(absl::StrCat("header, byte ", nul + 8), "well-formed JSON in UTF-8", "a NUL");
  }
  SafetensorsHeader header;
  HeaderHandler handler(data_size, check, header);
  Json::sax_parse(text, &handler);
  CheckLayout(header.entries, data_size, check);
  std::ranges::sort(header.entries, {}, &SafetensorsEntry::name);
  const auto twice = std::ranges::adjacent_find(header.entries, {}, &SafetensorsEntry::name);
  if (twice != header.entries.end()) {
    check.Fail(FileCheck::Field("header", twice->name), "each name once", "it twice");
  }
  return header;
}

}  // namespace edgeqat::internal
