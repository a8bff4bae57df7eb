// SPDX-License-Identifier: Apache-2.0
// Old or new, never a mix: what is on disk after each way a save can end.
#include "edgeqat/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "core/temp_dir.h"

namespace edgeqat {
namespace {

using testing::ReadAll;
using testing::TempDir;
using testing::WriteAll;
using Names = std::vector<std::string>;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(AtomicFile, WritesNewFile) {
  const TempDir dir;
  WriteFileAtomically(dir / "a.bin", Bytes("new"));
  EXPECT_EQ(ReadAll(dir / "a.bin"), "new");
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

TEST(AtomicFile, OldStaysUntilCommit) {
  const TempDir dir;
  WriteAll(dir / "a.bin", "old");
  AtomicWriter writer(dir / "a.bin");
  writer.Write(Bytes("ne"));
  writer.Write(Bytes("w"));
  EXPECT_EQ(ReadAll(dir / "a.bin"), "old");
  writer.Commit();
  EXPECT_EQ(ReadAll(dir / "a.bin"), "new");
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

TEST(AtomicFile, DestructorAndAbortRemoveTemporary) {
  const TempDir dir;
  WriteAll(dir / "a.bin", "old");
  {
    AtomicWriter(dir / "a.bin").Write(Bytes("new"));
  }
  EXPECT_EQ(dir.List(), Names{"a.bin"});
  AtomicWriter writer(dir / "a.bin");
  writer.Abort();
  EXPECT_EQ(dir.List(), Names{"a.bin"});
  EXPECT_ERROR(writer.Write(Bytes("x")), ErrorCode::kInvalidArgument, "after Commit or Abort");
  EXPECT_ERROR(writer.Commit(), ErrorCode::kInvalidArgument, "after Commit or Abort");
  EXPECT_EQ(ReadAll(dir / "a.bin"), "old");
}

TEST(AtomicFile, TemporaryIsNamedAsDocumented) {
  const TempDir dir;
  const AtomicWriter writer(dir / "a.bin");
  const std::string name = std::filesystem::path(writer.temporary_path()).filename();
  const std::string stem = ".a.bin." + std::to_string(getpid()) + ".";
  EXPECT_EQ(name.substr(0, stem.size()), stem);
  EXPECT_EQ(name.size(), stem.size() + 16 + 4);
  EXPECT_TRUE(name.ends_with(".tmp"));
  EXPECT_EQ(writer.path(), dir / "a.bin");
}

TEST(AtomicFile, RemovesStraysOfTheSameTargetOnly) {
  const TempDir dir;
  const std::string mine = ".a.bin.999999.0123456789abcdef.tmp";  // no such process
  const std::string reused =
      ".a.bin." + std::to_string(getppid()) + ".0123456789abcdef.tmp";  // id of a live one
  const Names others = {".a.bin.0123456789abcdef.tmp",        ".a.bin.12x.0123456789abcdef.tmp",
                        ".a.bin.999999.0123456789abcdeg.tmp", ".a.bin.999999.0123456789abcde.tmp",
                        ".b.bin.999999.0123456789abcdef.tmp", "a.bin.999999.0123456789abcdef.tmp"};
  WriteAll(dir / mine, "");
  WriteAll(dir / reused, "");
  for (const std::string& name : others) WriteAll(dir / name, "");
  WriteFileAtomically(dir / "a.bin", Bytes("new"));
  Names expected = others;
  expected.emplace_back("a.bin");
  std::ranges::sort(expected);
  EXPECT_EQ(dir.List(), expected);
}

TEST(AtomicFile, KeepsTemporaryOfALiveWriter) {
  const TempDir dir;
  AtomicWriter first(dir / "a.bin");
  first.Write(Bytes("first"));
  WriteFileAtomically(dir / "a.bin", Bytes("second"));
  first.Commit();
  EXPECT_EQ(ReadAll(dir / "a.bin"), "first");
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

TEST(AtomicFile, NextSaveRemovesWhatAKilledProcessLeft) {
  const TempDir dir;
  const pid_t child = fork();
  if (child == 0) {
    AtomicWriter writer(dir / "a.bin");
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(dir.List().size(), 1U);
  WriteFileAtomically(dir / "a.bin", Bytes("new"));
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

TEST(AtomicFile, KeepsPermissions) {
  const TempDir dir;
  WriteAll(dir / "a.bin", "old");
  chmod((dir / "a.bin").c_str(), 0640);
  WriteFileAtomically(dir / "a.bin", Bytes("new"));
  struct stat status{};
  stat((dir / "a.bin").c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
  const mode_t old = umask(0027);
  WriteFileAtomically(dir / "b.bin", Bytes("new"));
  umask(old);
  stat((dir / "b.bin").c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
}

TEST(AtomicFile, ReplacesSymbolicLinkAndKeepsItsTarget) {
  const TempDir dir;
  WriteAll(dir / "target", "old");
  std::filesystem::create_symlink("target", dir / "link");
  WriteFileAtomically(dir / "link", Bytes("new"));
  EXPECT_EQ(ReadAll(dir / "target"), "old");
  EXPECT_EQ(ReadAll(dir / "link"), "new");
}

TEST(AtomicFile, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  mkfifo((dir / "pipe").c_str(), 0600);
  std::filesystem::create_symlink("/dev/null", dir / "null");
  const std::string nul("a\0b", 3);
  for (const std::string& path :
       {std::string(), nul, dir / "", dir / ".", dir / "..", dir / "pipe", dir / "null"}) {
    EXPECT_ERROR(WriteFileAtomically(path, Bytes("x")), ErrorCode::kInvalidArgument,
                 "path: expected");
  }
  EXPECT_ERROR(WriteFileAtomically(dir / "none/a.bin", Bytes("x")), ErrorCode::kIo,
               "No such file or directory");
  EXPECT_EQ(dir.List(), (Names{"null", "pipe"}));
}

TEST(AtomicFile, LongNamesFit) {
  const TempDir dir;
  const std::string name(255, 'n');
  WriteFileAtomically(dir / name, Bytes("new"));
  EXPECT_EQ(dir.List(), Names{name});
}

TEST(AtomicFile, WorkingDirectoryMayChange) {
  const TempDir dir;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir / "");
  AtomicWriter writer("a.bin");
  std::filesystem::current_path(before);
  writer.Write(Bytes("new"));
  writer.Commit();
  EXPECT_EQ(ReadAll(dir / "a.bin"), "new");
}

TEST(AtomicFile, LibraryMayWriteOrReplaceTheTemporary) {
  const TempDir dir;
  AtomicWriter in_place(dir / "a.bin");
  WriteAll(in_place.temporary_path(), "in place");
  in_place.Commit();
  EXPECT_EQ(ReadAll(dir / "a.bin"), "in place");
  AtomicWriter replaced(dir / "a.bin");
  WriteAll(dir / "other", "replaced");
  std::filesystem::rename(dir / "other", replaced.temporary_path());
  replaced.Commit();
  EXPECT_EQ(ReadAll(dir / "a.bin"), "replaced");
  AtomicWriter removed(dir / "a.bin");
  std::filesystem::remove(removed.temporary_path());
  EXPECT_ERROR(removed.Commit(), ErrorCode::kIo, "old version, if any, is unchanged");
  EXPECT_EQ(ReadAll(dir / "a.bin"), "replaced");
}

TEST(AtomicFile, FileSizeLimitLeavesOldVersion) {
  const TempDir dir;
  WriteAll(dir / "a.bin", "old");
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      WriteFileAtomically(dir / "a.bin", Bytes(std::string(5000, 'x')));
    } catch (const Error& error) {
      _exit(error.code() == ErrorCode::kIo ? 7 : 1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(ReadAll(dir / "a.bin"), "old");
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

TEST(AtomicFile, ConcurrentWritersNeverMix) {
  const TempDir dir;
  const auto save = [&](char letter) {
    for (int i = 0; i < 20; ++i)
      WriteFileAtomically(dir / "a.bin", Bytes(std::string(20'000, letter)));
  };
  std::vector<std::thread> threads;
  for (const char letter : {'a', 'b', 'c', 'd'}) threads.emplace_back(save, letter);
  for (std::thread& thread : threads) thread.join();
  const std::string found = ReadAll(dir / "a.bin");
  EXPECT_EQ(found, std::string(20'000, found.at(0)));
  EXPECT_EQ(dir.List(), Names{"a.bin"});
}

// Without fsync between them the writers meet far more often in the moment between creating the
// temporary and locking it, when another one may take it for a stray.
TEST(AtomicFile, NoWriterLosesItsTemporary) {
  const TempDir dir;
  std::atomic<int> lost = 0;
  const auto create = [&] {
    for (int i = 0; i < 1000; ++i) {
      const AtomicWriter writer(dir / "a.bin");
      lost += std::filesystem::exists(writer.temporary_path()) ? 0 : 1;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(create);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(lost, 0);
  EXPECT_TRUE(dir.List().empty());
}

}  // namespace
}  // namespace edgeqat
