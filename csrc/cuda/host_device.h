// SPDX-License-Identifier: Apache-2.0
// Marks what both compilers build: device code for nvcc, plain functions for the host tests.
#pragma once

#include "edgeqat/host_device.h"
