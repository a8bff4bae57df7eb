// SPDX-License-Identifier: Apache-2.0
// The rules of a number format.
#include "edgeqat/quant_spec.h"

#include <string>

#include "core/quant_spec_fields.h"
#include "edgeqat/error.h"

namespace edgeqat {
namespace {

[[noreturn]] void Fail(ErrorCode code, const std::string& problem) {
  throw Error(code, "QuantSpec: " + problem);
}

std::string Text(const std::optional<std::int64_t>& value) {
  return value ? std::to_string(*value) : "none";
}

}  // namespace

void ValidateQuantSpec(const QuantSpec& spec) {
  QuantSpec taken;
  internal::SetFields(taken, internal::ToMap(spec, internal::kQuantSpecFields),
                      internal::kQuantSpecFields, {ErrorCode::kInvalidArgument, "QuantSpec: "});
  const std::string granularity = "granularity '" + std::string(NameOf(spec.granularity)) + "'";
  if (spec.axis.has_value() == (spec.granularity == Granularity::kTensor)) {
    Fail(ErrorCode::kInvalidArgument,
         granularity + " and axis " + Text(spec.axis) +
             " contradict each other; give an axis for 'channel' and 'group', none for 'tensor'");
  }
  if (spec.group_size.has_value() != (spec.granularity == Granularity::kGroup)) {
    Fail(ErrorCode::kInvalidArgument,
         granularity + " and group_size " + Text(spec.group_size) +
             " contradict each other; give group_size for 'group' only");
  }
}

std::vector<std::int64_t> QuantSpec::ScaleShape(std::span<const std::int64_t> shape) const {
  if (!axis) return {1};
  const std::int64_t dims = std::ssize(shape);
  if (*axis < -dims || *axis >= dims) {
    Fail(ErrorCode::kOutOfRange, "axis must be in [" + std::to_string(-dims) + ", " +
                                     std::to_string(dims) + ") for a tensor of " +
                                     std::to_string(dims) + " dimensions, found " +
                                     std::to_string(*axis));
  }
  const auto at = static_cast<std::size_t>(*axis < 0 ? *axis + dims : *axis);
  if (!group_size) return {shape[at]};
  if (*group_size < 1 || shape[at] % *group_size != 0) {
    Fail(ErrorCode::kInvalidArgument, "group_size " + std::to_string(*group_size) +
                                          " does not divide axis " + std::to_string(*axis) +
                                          " of size " + std::to_string(shape[at]) +
                                          "; choose a divisor");
  }
  std::vector<std::int64_t> grouped(shape.begin(), shape.end());
  grouped[at] /= *group_size;
  return grouped;
}

}  // namespace edgeqat
