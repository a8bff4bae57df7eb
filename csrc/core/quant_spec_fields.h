// SPDX-License-Identifier: Apache-2.0
// The fields of QuantSpec, in the order in which Python takes and shows them.
#pragma once

#include <tuple>

#include "core/fields.h"
#include "edgeqat/quant_spec.h"

namespace edgeqat::internal {

inline constexpr Ints kBits = {kMinBits, kMaxBits};

inline constexpr auto kQuantSpecFields = std::tuple{
    Field{"bits", &QuantSpec::bits, kBits},
    Field{"symmetric", &QuantSpec::symmetric},
    Field{"granularity", &QuantSpec::granularity},
    Field{"axis", &QuantSpec::axis},
    Field{"group_size", &QuantSpec::group_size, Ints{.least = 1}},
    Field{"narrow_range", &QuantSpec::narrow_range},
};

}  // namespace edgeqat::internal
