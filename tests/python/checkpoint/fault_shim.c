// SPDX-License-Identifier: Apache-2.0
// LD_PRELOAD library that makes the k-th file call of a save fail, stop short, or end the process,
// and records what the calls did to the disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum Action { kNone, kCrashBefore, kCrashAfter, kFail, kShort };

static long armed_step;  // 0: count only; -1: off
static enum Action armed_action;
static int armed_errno;
static long step = -1;
static char names[1 << 16];
static char record[1 << 20];  // one change of the disk a line, see fault_record
static size_t recorded;

// Starts counting; the call number `at` (from 1) gets `action`.
void fault_arm(long at, int action, int error) {
  armed_step = at;
  armed_action = (enum Action)action;
  armed_errno = error;
  step = 0;
  names[0] = 0;
  recorded = 0;
  record[0] = 0;
}

// Ends counting and returns the names of the calls, one per line.
const char* fault_disarm(void) {
  step = -1;
  return names;
}

// The successful calls in order: "create INODE NAME", "write INODE OFFSET HEX", "sync INODE",
// "rename OLD NEW", "unlink NAME", "lost" where the buffer was too small.
const char* fault_record(void) { return record; }

static void note(const char* format, ...) {
  if (step < 0) return;
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(record + recorded, sizeof(record) - recorded, format, arguments);
  va_end(arguments);
  if (size < 0 || recorded + (size_t)size >= sizeof(record)) {
    snprintf(record, sizeof(record), "lost\n");
    recorded = sizeof(record) - 1;
    return;
  }
  recorded += (size_t)size;
}

static unsigned long inode(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 ? (unsigned long)status.st_ino : 0;
}

static void note_write(int fd, const unsigned char* data, size_t size) {
  if (step < 0) return;
  char* hex = malloc(2 * size + 1);
  if (hex == NULL) abort();
  for (size_t i = 0; i < size; ++i) sprintf(hex + 2 * i, "%02x", data[i]);
  hex[2 * size] = 0;
  note("write %lu %ld %s\n", inode(fd), (long)lseek(fd, 0, SEEK_CUR) - (long)size, hex);
  free(hex);
}

static enum Action next(const char* name) {
  if (step < 0) return kNone;
  ++step;
  if (strlen(names) + strlen(name) + 2 < sizeof(names)) {
    strcat(names, name);
    strcat(names, "\n");
  }
  return step == armed_step ? armed_action : kNone;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// `call` under the action that is due; `log` records what it changed.
#define GUARD(name, call, log)                           \
  do {                                                   \
    enum Action action = next(#name);                    \
    if (action == kCrashBefore) raise(SIGKILL);          \
    if (action == kFail) return errno = armed_errno, -1; \
    __typeof__(call) result = call;                      \
    if (result >= 0) log;                                \
    if (action == kCrashAfter) raise(SIGKILL);           \
    return result;                                       \
  } while (0)
#define NOTHING ((void)0)

ssize_t write(int fd, const void* data, size_t size) {
  enum Action action = next("write");
  if (action == kCrashBefore) raise(SIGKILL);
  if (action == kFail) return errno = armed_errno, -1;
  // A crash in the middle of a write leaves its first half.
  if (action == kShort || action == kCrashAfter) size = (size + 1) / 2;
  ssize_t result = REAL(write)(fd, data, size);
  if (result > 0) note_write(fd, data, (size_t)result);
  if (action == kCrashAfter) raise(SIGKILL);
  return result;
}

int fsync(int fd) { GUARD(fsync, REAL(fsync)(fd), note("sync %lu\n", inode(fd))); }
int flock(int fd, int operation) { GUARD(flock, REAL(flock)(fd, operation), NOTHING); }
int fchmod(int fd, mode_t mode) { GUARD(fchmod, REAL(fchmod)(fd, mode), NOTHING); }
int unlinkat(int dir, const char* path, int flags) {
  GUARD(unlinkat, REAL(unlinkat)(dir, path, flags), note("unlink %s\n", path));
}

int renameat(int old_dir, const char* old, int new_dir, const char* name) {
  GUARD(renameat, REAL(renameat)(old_dir, old, new_dir, name), note("rename %s %s\n", old, name));
}

#define OPEN_MODE(flags)           \
  mode_t mode = 0;                 \
  if ((flags) & O_CREAT) {         \
    va_list arguments;             \
    va_start(arguments, flags);    \
    mode = va_arg(arguments, int); \
    va_end(arguments);             \
  }

#ifndef O_CREAT
#define O_CREAT 0100
#endif

int open(const char* path, int flags, ...);
int openat(int dir, const char* path, int flags, ...);

int open(const char* path, int flags, ...) {
  OPEN_MODE(flags)
  GUARD(open, REAL(open)(path, flags, mode), NOTHING);
}

int openat(int dir, const char* path, int flags, ...) {
  OPEN_MODE(flags)
  GUARD(openat, REAL(openat)(dir, path, flags, mode),
        if (flags & O_CREAT) note("create %lu %s\n", inode(result), path));
}
