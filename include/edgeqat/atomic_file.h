// SPDX-License-Identifier: Apache-2.0
// Writes a file so that readers see the whole old version or the whole new one, never a mix.
//
//   edgeqat::AtomicWriter writer("model.safetensors");
//   writer.Write(bytes);
//   writer.Commit();  // without it the destructor removes the temporary; the old file is untouched
//
// The bytes go to `.<name>.<pid>.<random>.tmp` in the same directory; Commit does fsync, rename and
// fsync of the directory. A full disk, a crash or a power cut therefore leaves the old file. The
// temporary is held under flock while its writer lives, so that the next writer of the same file
// removes what a killed process left and nothing else (a process id alone would be wrong in
// containers that share a folder, and where the id is in use again).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace edgeqat {

class AtomicWriter {
 public:
  // Creates the temporary, with the permissions of the file it will replace. A symbolic link at
  // `path` is replaced, its target stays. Throws Error(kInvalidArgument) where `path` is empty,
  // holds a NUL or names a directory, device or pipe (as root, renaming over /dev/null would
  // destroy it), Error(kIo) where the system refuses.
  explicit AtomicWriter(const std::string& path);
  ~AtomicWriter();
  AtomicWriter(AtomicWriter&&) noexcept;
  AtomicWriter& operator=(AtomicWriter&&) noexcept;
  AtomicWriter(const AtomicWriter&) = delete;
  AtomicWriter& operator=(const AtomicWriter&) = delete;

  // Appends; complete when it returns. Throws Error(kIo), after which only Abort is useful.
  void Write(std::span<const std::byte> bytes);

  // For a library that insists on a file name: it writes this file, then Commit is called.
  [[nodiscard]] const std::string& temporary_path() const;
  [[nodiscard]] const std::string& path() const;

  // Makes the new version visible and durable. Throws Error(kIo); the message says whether the old
  // or the new version is in place.
  void Commit();

  // Removes the temporary. Does nothing after Commit.
  void Abort() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One call for bytes that are at hand.
void WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes);

}  // namespace edgeqat
