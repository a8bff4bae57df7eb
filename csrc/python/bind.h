// SPDX-License-Identifier: Apache-2.0
// The Bind functions that module.cpp calls, one per bind_<area>.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace edgeqat::python {

void BindOps(pybind11::module_& m);    // bind_ops.cpp: forward-only NumPy twins of the operators
void BindGraph(pybind11::module_& m);  // bind_graph.cpp: Graph and the integer reference
void BindSpec(pybind11::module_& m);   // bind_spec.cpp: QuantSpec and Target
void BindPlan(pybind11::module_& m);   // bind_plan.cpp: Recipe and Plan
void BindCheckpoint(
    pybind11::module_& m);  // bind_checkpoint.cpp: checkpoints and the atomic writer

}  // namespace edgeqat::python
