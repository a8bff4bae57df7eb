// SPDX-License-Identifier: Apache-2.0
// The pybind11 module edgeqat._C: one Bind function per area, and the mapping of errors.
#include <pybind11/pybind11.h>

#include "edgeqat/error.h"
#include "edgeqat/version.h"
#include "python/bind.h"

namespace py = pybind11;

namespace {

// FormatError lives as long as the interpreter: a leaked reference, as pybind11's own exception
// types are.
PyObject* format_error = nullptr;

void Translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const edgeqat::Error& error) {
    PyObject* type = PyExc_RuntimeError;
    switch (error.code()) {
      case edgeqat::ErrorCode::kInvalidArgument:
        type = PyExc_ValueError;
        break;
      case edgeqat::ErrorCode::kOutOfRange:
        type = PyExc_IndexError;
        break;
      case edgeqat::ErrorCode::kUnsupported:
        type = PyExc_NotImplementedError;
        break;
      case edgeqat::ErrorCode::kCorruptFile:
        type = format_error;
        break;
      case edgeqat::ErrorCode::kIo:
        type = PyExc_OSError;
        break;
      case edgeqat::ErrorCode::kInternal:
        type = PyExc_RuntimeError;
        break;
    }
    PyErr_SetString(type, error.what());
  }
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() =
      "The torch-free C++ library of edgeqat: formats and plans, kernels for NumPy, graph, integer "
      "reference, checkpoints.";
  m.def("version", &edgeqat::Version, "Version of the C++ library, 'major.minor.patch'.");
  m.def("compiler", &edgeqat::Compiler, "The compiler that built it, such as 'GNU 12.2.0'.");
  format_error = PyErr_NewExceptionWithDoc(
      "edgeqat.FormatError", "A file is damaged, truncated, oversized or contradicts itself.",
      PyExc_ValueError, nullptr);
  m.attr("FormatError") = py::reinterpret_borrow<py::object>(format_error);
  py::register_exception_translator(&Translate);
  edgeqat::python::BindSpec(m);
  edgeqat::python::BindPlan(m);
  edgeqat::python::BindCheckpoint(m);
  edgeqat::python::BindGraph(m);
  edgeqat::python::BindOps(m);
}
