// SPDX-License-Identifier: Apache-2.0
// Temporary in the same directory, fsync, rename, fsync of the directory.
#include "edgeqat/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <random>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/file_check.h"

namespace edgeqat {
namespace {

using internal::FailIo;

constexpr char kOldInPlace[] = "the file's old version, if any, is unchanged";

// System calls may end early because a signal arrived; then they are made again.
template <typename Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// ".<name>." of the temporaries of `name`. A file name has at most 255 bytes and ".<pid>.<16>.tmp"
// takes up to 32 of them, so a long name is cut.
std::string TemporaryStem(const std::string& name) {
  return absl::StrCat(".", name.substr(0, 200), ".");
}

// The process id in `entry` where it is a temporary with this stem, otherwise 0.
pid_t OwnerOfTemporary(std::string_view entry, std::string_view stem) {
  if (!entry.starts_with(stem) || !entry.ends_with(".tmp")) return 0;
  entry.remove_prefix(stem.size());
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), pid);
  const std::string_view rest(end, static_cast<std::size_t>(entry.data() + entry.size() - end));
  const bool shaped = error == std::errc() && pid > 0 && rest.size() == 21 && rest[0] == '.' &&
                      rest.find_first_not_of("0123456789abcdef", 1) == 17;
  return shaped ? pid : 0;
}

// Removes a temporary that nobody writes any more: its lock is free; where the file system has no
// locks, its process is gone. The lock is held until the name is gone, see State::Create.
void RemoveIfAbandoned(int directory, const char* entry, pid_t owner) {
  const int fd = Retry(
      [&] { return openat(directory, entry, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); });
  if (fd < 0) return;
  const absl::Cleanup close_fd = [fd] { close(fd); };
  if (Retry([&] { return flock(fd, LOCK_EX | LOCK_NB); }) != 0) {
    const bool is_locked = errno == EWOULDBLOCK;
    const bool is_gone = kill(owner, 0) != 0 && errno == ESRCH;
    if (is_locked || !is_gone) return;
  }
  unlinkat(directory, entry, 0);
}

void RemoveAbandoned(int directory, const std::string& stem) {
  const int copy =
      Retry([&] { return openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (copy < 0) return;  // strays cost space, not correctness: a save must not fail for them
  DIR* stream = fdopendir(copy);
  if (stream == nullptr) {
    close(copy);
    return;
  }
  const absl::Cleanup close_stream = [stream] { closedir(stream); };
  while (const dirent* entry = readdir(stream)) {
    const pid_t owner = OwnerOfTemporary(entry->d_name, stem);
    if (owner != 0) RemoveIfAbandoned(directory, entry->d_name, owner);
  }
}

std::string RandomHex() {
  std::random_device device;
  const std::uint64_t value = (std::uint64_t{device()} << 32) | device();
  return absl::StrCat(absl::Hex(value, absl::kZeroPad16));
}

}  // namespace

struct AtomicWriter::State {
  std::string path;
  std::string name;            // last component of path
  std::string temporary;       // last component of the temporary
  std::string temporary_path;  // with the directory as given in path
  int directory = -1;          // held open: the save survives a change of the working directory
  int fd = -1;
  bool pending = false;  // the temporary exists

  ~State() {
    if (pending) unlinkat(directory, temporary.c_str(), 0);
    if (fd >= 0) close(fd);
    if (directory >= 0) close(directory);
  }

  void Create(mode_t mode) {
    const std::string stem = TemporaryStem(name);
    RemoveAbandoned(directory, stem);
    // A second round is needed only where another writer takes the new file for a stray before it
    // is locked: that writer holds the lock until it has removed the name, so waiting for the lock
    // and counting the names afterwards tells.
    for (;;) {
      temporary = absl::StrCat(stem, getpid(), ".", RandomHex(), ".tmp");
      fd = Retry([&] {
        return openat(directory, temporary.c_str(),
                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
      });
      if (fd < 0 && errno == EEXIST) continue;
      if (fd < 0) FailIo(path, "create a temporary beside it", errno, kOldInPlace);
      pending = true;
      // Some network file systems refuse locks: there the process id decides.
      static_cast<void>(Retry([&] { return flock(fd, LOCK_EX); }));
      struct stat status{};
      if (fstat(fd, &status) != 0) FailIo(path, "inspect the temporary", errno, kOldInPlace);
      if (status.st_nlink > 0) break;
      close(std::exchange(fd, -1));
      pending = false;
    }
    // File systems without permissions refuse; the file is then as readable as they make it.
    if (mode != 0) static_cast<void>(Retry([&] { return fchmod(fd, mode); }));
  }
};

AtomicWriter::AtomicWriter(const std::string& path) : state_(std::make_unique<State>()) {
  internal::CheckPath(path);
  const std::size_t slash = path.rfind('/');
  const std::string folder =
      slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
  state_->path = path;
  state_->name = slash == std::string::npos ? path : path.substr(slash + 1);
  struct stat old{};
  const bool exists = Retry([&] { return stat(path.c_str(), &old); }) == 0;
  if (state_->name.empty() || state_->name == "." || state_->name == ".." ||
      (exists && !S_ISREG(old.st_mode))) {
    throw Error(
        ErrorCode::kInvalidArgument,
        absl::StrCat("path: expected the name of a regular file, found '",
                     internal::Printable(path, 1024), "', which is a directory, device or pipe"));
  }
  state_->directory =
      Retry([&] { return open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (state_->directory < 0) FailIo(path, "open its directory", errno);
  state_->Create(exists ? old.st_mode & 0777 : 0);
  state_->temporary_path = slash == std::string::npos
                               ? state_->temporary
                               : absl::StrCat(path.substr(0, slash + 1), state_->temporary);
}

AtomicWriter::~AtomicWriter() = default;
AtomicWriter::AtomicWriter(AtomicWriter&&) noexcept = default;
AtomicWriter& AtomicWriter::operator=(AtomicWriter&&) noexcept = default;

const std::string& AtomicWriter::temporary_path() const { return state_->temporary_path; }
const std::string& AtomicWriter::path() const { return state_->path; }

void AtomicWriter::Write(std::span<const std::byte> bytes) {
  if (!state_->pending)
    throw Error(ErrorCode::kInvalidArgument, "AtomicWriter: Write after Commit or Abort");
  while (!bytes.empty()) {
    const ssize_t count = Retry([&] { return write(state_->fd, bytes.data(), bytes.size()); });
    if (count < 0) FailIo(state_->path, "write", errno, kOldInPlace);
    if (count == 0) FailIo(state_->path, "write", ENOSPC, kOldInPlace);  // would repeat for ever
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void AtomicWriter::Commit() {
  State& state = *state_;
  if (!state.pending)
    throw Error(ErrorCode::kInvalidArgument, "AtomicWriter: Commit after Commit or Abort");
  const absl::Cleanup remove_temporary = [this] { Abort(); };  // nothing once it is renamed
  // A library that was given the name may have replaced the file: what is there now gets synced.
  const int now = Retry([&] {
    return openat(state.directory, state.temporary.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  });
  if (now < 0) FailIo(state.path, "open the temporary again", errno, kOldInPlace);
  const absl::Cleanup close_now = [now] { close(now); };
  if (Retry([&] { return fsync(now); }) != 0) FailIo(state.path, "fsync", errno, kOldInPlace);
  if (Retry([&] {
        return renameat(state.directory, state.temporary.c_str(), state.directory,
                        state.name.c_str());
      }) != 0) {
    FailIo(state.path, "rename the temporary to it", errno, kOldInPlace);
  }
  state.pending = false;
  // Some file systems cannot sync a directory and say EINVAL or ENOTSUP; there is nothing to mend.
  if (Retry([&] { return fsync(state.directory); }) != 0 && errno != EINVAL && errno != ENOTSUP) {
    FailIo(state.path, "fsync its directory", errno,
           "the new version is in place, but a power cut now may bring back the old one");
  }
}

void AtomicWriter::Abort() noexcept {
  if (!state_ || !state_->pending) return;
  unlinkat(state_->directory, state_->temporary.c_str(), 0);
  state_->pending = false;
}

void WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes) {
  AtomicWriter writer(path);
  writer.Write(bytes);
  writer.Commit();
}

}  // namespace edgeqat
