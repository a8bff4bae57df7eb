// SPDX-License-Identifier: Apache-2.0
// One wording for everything that can be wrong with a file: which file, which field, what was
// expected, what was found; and a read-only file that never maps memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "edgeqat/error.h"

namespace edgeqat::internal {

// `text` for a message: control characters and invalid UTF-8 as \xNN, at most `limit` bytes. Names
// come from the file: one of 64 KiB with line breaks would otherwise fill a log.
std::string Printable(std::string_view text, std::size_t limit = 80);

// Says what is wrong with one file; the same checks serve reading (kCorruptFile) and writing
// (kInvalidArgument).
class FileCheck {
 public:
  FileCheck(ErrorCode code, std::string file, std::string advice)
      : code_(code), file_(std::move(file)), advice_(std::move(advice)) {}

  // "<file>: field '<field>': expected <expected>, found <found>; <advice>".
  [[noreturn]] void Fail(std::string_view field, const std::string& expected,
                         const std::string& found) const;

  // The part of a field name that comes from the file is made printable.
  [[nodiscard]] static std::string Field(std::string_view section, std::string_view name,
                                         std::string_view member = {});

 private:
  ErrorCode code_;
  std::string file_;
  std::string advice_;
};

// FileCheck of a file that is read.
FileCheck ReadCheck(const std::string& path);

// Fails where a byte of a boolean tensor is neither 0 nor 1: a bool of 2 is undefined in C++.
void CheckBool(std::span<const std::byte> bytes, std::string_view name, const FileCheck& check);

// Throws Error(kIo): "<path>: cannot <action>: <system's words>; <advice>".
[[noreturn]] void FailIo(const std::string& path, std::string_view action, int error_number,
                         std::string_view advice = {});

// Throws Error(kInvalidArgument) where `path` is empty or holds a NUL, which the system would take
// for its end: "model\0.safetensors" would write "model".
void CheckPath(const std::string& path);

// pread on a regular file. Not mmap: a file that another process shortens would end a mapping
// reader by SIGBUS, here it is an error.
class ReadOnlyFile {
 public:
  explicit ReadOnlyFile(const std::string& path);
  ~ReadOnlyFile();
  ReadOnlyFile(const ReadOnlyFile&) = delete;
  ReadOnlyFile& operator=(const ReadOnlyFile&) = delete;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Fills `out` from `offset`; throws Error(kIo) where the file ends early or cannot be read.
  void ReadAt(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

}  // namespace edgeqat::internal
