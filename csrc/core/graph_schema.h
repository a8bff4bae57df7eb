// SPDX-License-Identifier: Apache-2.0
// The table of graph ops: their inputs and attributes. Validation, parsing and the documentation
// read it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "edgeqat/graph.h"

namespace edgeqat::graph {

enum class AttributeKind : std::uint8_t {
  kInt,
  kBool,
  kFloat,          // finite; an integer in JSON is taken too
  kOptionalFloat,  // kFloat or null
  kInts,
  kString,
};

// The value an attribute takes where the JSON leaves it out.
enum class Default : std::uint8_t { kRequired, kZero, kOne, kNone };

struct AttributeSpec {
  std::string_view name;
  AttributeKind kind = AttributeKind::kInt;
  Default fallback = Default::kRequired;
};

struct OpSpec {
  std::string_view name;
  int min_inputs = 1;  // inputs from here on may be absent
  int max_inputs = 1;  // kVariadic: any number
  std::span<const AttributeSpec> attributes;
};

inline constexpr int kVariadic = -1;
inline constexpr std::string_view kAtenPrefix = "aten.";
// Convolution and pooling take [N, C, spatial...] with 1 to this many spatial dimensions.
inline constexpr std::int64_t kMaxSpatial = 3;

// Null where the name is unknown.
const OpSpec* FindOp(std::string_view name);
std::span<const OpSpec> AllOps();

// "an integer", "a list of integers", ...
std::string_view Describe(AttributeKind kind);
bool Matches(AttributeKind kind, const Attribute& value);

// Fills in absent attributes that have a default and turns integers into float where the table says
// float; leaves everything else to validation.
void Canonicalize(Node& node);

// At most 64 characters of a name from a file, for messages.
std::string Excerpt(std::string_view name);

}  // namespace edgeqat::graph
