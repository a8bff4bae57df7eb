// SPDX-License-Identifier: Apache-2.0
// The fields of a plan, and its form as plain data.
#pragma once

#include <tuple>

#include "core/fields.h"
#include "core/quant_spec_fields.h"
#include "edgeqat/plan.h"

namespace edgeqat::internal {

inline constexpr std::size_t kMaxLayers = std::size_t{1} << 16;

// In the order of the JSON and of Python's constructor; the first three must be given.
inline constexpr auto kTensorFields = std::tuple{
    Field{"name", &TensorPlan::name, Name{}},
    Field{"status", &TensorPlan::status},
    Field{"bits", &TensorPlan::bits, kBits},
    Field{"symmetric", &TensorPlan::symmetric},
    Field{"granularity", &TensorPlan::granularity},
    Field{"axis", &TensorPlan::axis},
    Field{"group_size", &TensorPlan::group_size, Ints{.least = 1}},
    Field{"narrow_range", &TensorPlan::narrow_range},
    Field{"shape", &TensorPlan::shape, Ints{.least = -1}},
    Field{"source", &TensorPlan::source},
    Field{"note", &TensorPlan::note},
    Field{"fixed_range", &TensorPlan::fixed_range},
};

inline constexpr auto kPlanFields = std::tuple{
    Field{"target", &Plan::target, Name{}},
    Field{"mode", &Plan::mode},
    Field{"dynamic_batch", &Plan::dynamic_batch},
};

// Bits where the status asks for them, a format that is valid and fits the shape.
void CheckTensor(const TensorPlan& tensor, const Origin& origin);

// The origin of plans from outside.
Origin DamagedPlan();

// Reads and validates.
Plan ReadPlan(const Value& value, const Origin& origin);

Value PlanValue(const Plan& plan);

}  // namespace edgeqat::internal
