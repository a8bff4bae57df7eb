// SPDX-License-Identifier: Apache-2.0
// LD_PRELOAD library that makes the k-th file call of a save fail, stop short, or end the process.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
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

// Starts counting; the call number `at` (from 1) gets `action`.
void fault_arm(long at, int action, int error) {
  armed_step = at;
  armed_action = (enum Action)action;
  armed_errno = error;
  step = 0;
  names[0] = 0;
}

// Ends counting and returns the names of the calls, one per line.
const char* fault_disarm(void) {
  step = -1;
  return names;
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

// `call` under the action that is due.
#define GUARD(name, call)                                \
  do {                                                   \
    enum Action action = next(#name);                    \
    if (action == kCrashBefore) raise(SIGKILL);          \
    if (action == kFail) return errno = armed_errno, -1; \
    __typeof__(call) result = call;                      \
    if (action == kCrashAfter) raise(SIGKILL);           \
    return result;                                       \
  } while (0)

ssize_t write(int fd, const void* data, size_t size) {
  enum Action action = next("write");
  if (action == kCrashBefore) raise(SIGKILL);
  if (action == kFail) return errno = armed_errno, -1;
  // A crash in the middle of a write leaves its first half.
  if (action == kShort || action == kCrashAfter) size = (size + 1) / 2;
  ssize_t result = REAL(write)(fd, data, size);
  if (action == kCrashAfter) raise(SIGKILL);
  return result;
}

int fsync(int fd) { GUARD(fsync, REAL(fsync)(fd)); }
int flock(int fd, int operation) { GUARD(flock, REAL(flock)(fd, operation)); }
int fchmod(int fd, mode_t mode) { GUARD(fchmod, REAL(fchmod)(fd, mode)); }
int unlinkat(int dir, const char* path, int flags) {
  GUARD(unlinkat, REAL(unlinkat)(dir, path, flags));
}

int renameat(int old_dir, const char* old, int new_dir, const char* name) {
  GUARD(renameat, REAL(renameat)(old_dir, old, new_dir, name));
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
  GUARD(open, REAL(open)(path, flags, mode));
}

int openat(int dir, const char* path, int flags, ...) {
  OPEN_MODE(flags)
  GUARD(openat, REAL(openat)(dir, path, flags, mode));
}
