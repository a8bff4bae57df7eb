# SPDX-License-Identifier: Apache-2.0
# Cross-compiles for 64-bit Arm with Debian's gcc and runs the tests under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# No -L: the cross compiler's own sysroot has a dynamic loader of another release than the libc6:arm64 that the loader
# then finds (2.36-8 and 2.36-9), and such a pair spins for ever at the first thread or fork.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
