// SPDX-License-Identifier: Apache-2.0
// float16 and bfloat16 conversion as the IEEE definition reads; slow, the oracle of the kernels.
#pragma once

#include <cstdint>

#include "edgeqat/quant_layout.h"

namespace edgeqat::reference {

// The value of element `index` of an array of the given type.
[[nodiscard]] float LoadFloat(const void* data, FloatType type, std::int64_t index);

// Rounds half to even to the type and stores it. Overflow gives infinity, NaN the canonical quiet
// NaN.
void StoreFloat(float value, FloatType type, std::int64_t index, void* data);

}  // namespace edgeqat::reference
