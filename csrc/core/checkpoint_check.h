// SPDX-License-Identifier: Apache-2.0
// What must hold between the parts of a checkpoint, the same for reading and for writing.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/checkpoint_meta.h"
#include "core/file_check.h"
#include "edgeqat/checkpoint.h"

namespace edgeqat::internal {

// The tensor of that name that is not packed, or nullopt.
using TensorLookup = std::function<std::optional<TensorView>(const std::string&)>;

// Bits per code in the file: 2, 4 or 8.
int ContainerBits(int bits);

// Axis, group, and the scale and zero point that they ask for. Looks at no codes.
void CheckPacked(const std::string& name, const PackedMeta& packed, const TensorLookup& lookup,
                 const FileCheck& check);

// Codes of int8 or uint8 within `bits`.
void CheckCodes(const std::string& name, const TensorView& codes, int bits, const FileCheck& check);

// Every constant and every scale and zero point of the graph is in the checkpoint, as announced.
void CheckGraph(std::string_view graph, const std::map<std::string, PackedMeta>& packed,
                const TensorLookup& lookup, const FileCheck& check);

}  // namespace edgeqat::internal
