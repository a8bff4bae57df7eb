// SPDX-License-Identifier: Apache-2.0
// Messages about files, and reading at an offset.
#include "core/file_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace edgeqat::internal {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Length of the UTF-8 sequence at `text`, 0 where it is invalid. Overlong forms and surrogates
// count as invalid: Python refuses to decode them, and the message must reach Python.
std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t length = lead < 0x80                    ? 1
                             : lead >= 0xC2 && lead <= 0xDF ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if (length == 3 && ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F)))
    return 0;
  if (length == 4 && ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)))
    return 0;
  return length;
}

}  // namespace

std::string Printable(std::string_view text, std::size_t limit) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= limit) return out + "...";
    const std::size_t length = Utf8Length(text);
    const auto lead = static_cast<unsigned char>(text[0]);
    if (length == 0 || lead < 0x20 || lead == 0x7F) {
      absl::StrAppend(&out, "\\x", absl::Hex(lead, absl::kZeroPad2));
      text.remove_prefix(1);
    } else {
      out.append(text.substr(0, length));
      text.remove_prefix(length);
    }
  }
  return out;
}

void FileCheck::Fail(std::string_view field, const std::string& expected,
                     const std::string& found) const {
  throw Error(code_, absl::StrCat(Printable(file_, 1024), ": field '", View(field), "': expected ",
                                  expected, ", found ", found, "; ", advice_));
}

std::string FileCheck::Field(std::string_view section, std::string_view name,
                             std::string_view member) {
  return absl::StrCat(View(section), "[", Printable(name), "]", member.empty() ? "" : ".",
                      View(member));
}

FileCheck ReadCheck(const std::string& path) {
  return {ErrorCode::kCorruptFile, path,
          "the file is damaged or not what it says: copy or save it again"};
}

void CheckBool(std::span<const std::byte> bytes, std::string_view name, const FileCheck& check) {
  const auto bad = std::ranges::find_if(bytes, [](std::byte b) { return b > std::byte{1}; });
  if (bad == bytes.end()) return;
  check.Fail(FileCheck::Field("tensors", name), "booleans 0 or 1",
             absl::StrCat(std::to_integer<int>(*bad), " at element ", bad - bytes.begin()));
}

void FailIo(const std::string& path, std::string_view action, int error_number,
            std::string_view advice) {
  throw Error(ErrorCode::kIo,
              absl::StrCat(Printable(path, 1024), ": cannot ", View(action), ": ",
                           strerror(error_number), advice.empty() ? "" : "; ", View(advice)));
}

void CheckPath(const std::string& path) {
  if (!path.empty() && path.find('\0') == std::string::npos) return;
  throw Error(
      ErrorCode::kInvalidArgument,
      absl::StrCat("path: expected a file name without NUL, found '", Printable(path), "'"));
}

ReadOnlyFile::ReadOnlyFile(const std::string& path) : path_(path) {
  CheckPath(path);
  // O_NONBLOCK: opening a pipe that nobody writes would otherwise wait for ever.
  do {
    fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) FailIo(path, "open for reading", errno);
  struct stat status{};
  if (fstat(fd_, &status) != 0) {
    const int error_number = errno;
    close(fd_);
    FailIo(path, "read the size", error_number);
  }
  if (!S_ISREG(status.st_mode)) {
    close(fd_);
    FailIo(path, "read", S_ISDIR(status.st_mode) ? EISDIR : EINVAL, "a regular file is expected");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

ReadOnlyFile::~ReadOnlyFile() { close(fd_); }

void ReadOnlyFile::ReadAt(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t count = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) FailIo(path_, absl::StrCat("read at byte ", offset), errno);
    if (count == 0) {
      FailIo(path_, absl::StrCat("read at byte ", offset), EIO,
             "the file became shorter while it was read");
    }
    offset += static_cast<std::uint64_t>(count);
    out = out.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace edgeqat::internal
