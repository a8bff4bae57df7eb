// SPDX-License-Identifier: Apache-2.0
// What each op asks of its inputs and attributes.
#pragma once

#include <string>

#include "edgeqat/graph.h"

namespace edgeqat::graph {

// Op, number of inputs and outputs, attributes, activation, ranks and dtypes of one node whose
// inputs are known tensors. `path` is "nodes[3]", for messages.
void CheckNode(const Graph& graph, const Node& node, const std::string& path);

}  // namespace edgeqat::graph
