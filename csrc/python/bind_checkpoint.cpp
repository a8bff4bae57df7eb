// SPDX-License-Identifier: Apache-2.0
// Checkpoints, safetensors files and the atomic writer for Python: NumPy arrays and text.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/crc32c.h"
#include "edgeqat/atomic_file.h"
#include "edgeqat/checkpoint.h"
#include "edgeqat/error.h"
#include "edgeqat/safetensors.h"
#include "python/bind.h"

namespace py = pybind11;

namespace edgeqat::python {
namespace {

// One row per type that NumPy has; the others (BF16, F8) are refused by name.
struct NumpyType {
  const char* code;    // of the safetensors format
  const char* format;  // of NumPy
};
constexpr std::array<NumpyType, 12> kNumpyTypes = {{{"BOOL", "|b1"},
                                                    {"U8", "|u1"},
                                                    {"I8", "|i1"},
                                                    {"I16", "<i2"},
                                                    {"U16", "<u2"},
                                                    {"F16", "<f2"},
                                                    {"I32", "<i4"},
                                                    {"U32", "<u4"},
                                                    {"F32", "<f4"},
                                                    {"I64", "<i8"},
                                                    {"U64", "<u8"},
                                                    {"F64", "<f8"}}};

py::dtype DTypeOfCode(std::string_view code, const std::string& name) {
  for (const NumpyType& type : kNumpyTypes) {
    if (type.code == code) return py::dtype(type.format);
  }
  throw Error(ErrorCode::kUnsupported,
              "tensor '" + name + "': dtype: expected a type that NumPy has, found " +
                  std::string(code) + "; read this file with the safetensors package");
}

std::string_view CodeOfArray(const py::array& array, const std::string& name) {
  for (const NumpyType& type : kNumpyTypes) {
    if (array.dtype().equal(py::dtype(type.format))) return type.code;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "tensor '" + name + "': dtype: expected bool, int8 to int64, uint8 to " +
                  "uint64 or float16 to float64, found " +
                  py::str(array.dtype()).cast<std::string>() + "; convert it first");
}

// The path as the system wants it; refuses a NUL as Python's open does.
std::string FsPath(const py::handle& path) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(bytes).cast<std::string>();
}

std::vector<std::int64_t> ShapeOf(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

std::span<const std::byte> BytesOf(const py::array& array) {
  return {static_cast<const std::byte*>(array.data()), static_cast<std::size_t>(array.nbytes())};
}

// Arrays as the writer needs them: contiguous and aligned; kept alive until the file is written.
class Arrays {
 public:
  py::array Keep(const py::handle& object) {
    constexpr int kFlags = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
    const py::array array = py::array::ensure(object, kFlags);
    if (!array) throw py::error_already_set();
    arrays_.push_back(array);
    return array;
  }

  TensorView View(const std::string& name, const py::handle& object) {
    const py::array array = Keep(object);
    const std::optional<DType> dtype = DTypeFromSafetensors(CodeOfArray(array, name));
    if (!dtype) {
      throw Error(
          ErrorCode::kInvalidArgument,
          "tensor '" + name +
              "': dtype: expected float32, float16, int8, uint8, int32, int64 or bool, found " +
              py::str(array.dtype()).cast<std::string>() + "; convert it first");
    }
    return {*dtype, ShapeOf(array), BytesOf(array)};
  }

 private:
  std::vector<py::array> arrays_;
};

// The array owns the tensor's bytes: nothing is copied.
py::array ToArray(Tensor tensor, const std::string& name) {
  const py::dtype dtype = DTypeOfCode(SafetensorsDType(tensor.dtype), name);
  auto owner = std::make_unique<Tensor>(std::move(tensor));
  Tensor* raw = owner.get();
  const py::capsule capsule(owner.release(),
                            [](void* pointer) { delete static_cast<Tensor*>(pointer); });
  return {dtype, raw->shape, raw->data.data(), capsule};
}

template <typename T>
std::optional<T> OptionalItem(const py::dict& dict, const char* key) {
  return dict.contains(key) ? dict[key].cast<std::optional<T>>() : std::nullopt;
}

void Save(const py::handle& path, std::string plan, std::string graph,
          const std::map<std::string, py::object>& tensors,
          const std::map<std::string, py::dict>& packed, std::map<std::string, std::string> extra) {
  Arrays arrays;
  CheckpointView view{std::move(plan), std::move(graph), {}, {}, std::move(extra)};
  for (const auto& [name, array] : tensors) view.tensors.emplace(name, arrays.View(name, array));
  for (const auto& [name, entry] : packed) {
    view.packed.emplace(
        name, PackedTensorView{arrays.View(name, entry["codes"]), entry["bits"].cast<int>(),
                               OptionalItem<std::int64_t>(entry, "axis"),
                               OptionalItem<std::int64_t>(entry, "group_size"),
                               entry["scale"].cast<std::string>(),
                               entry["zero_point"].cast<std::string>()});
  }
  const std::string file = FsPath(path);
  const py::gil_scoped_release release;
  SaveCheckpoint(file, view);
}

py::dict Load(const py::handle& path, bool verify) {
  const std::string file = FsPath(path);
  Checkpoint checkpoint;
  {
    const py::gil_scoped_release release;
    checkpoint = LoadCheckpoint(file, {verify});
  }
  py::dict tensors;
  for (auto& [name, tensor] : checkpoint.tensors)
    tensors[py::str(name)] = ToArray(std::move(tensor), name);
  py::dict packed;
  for (auto& [name, entry] : checkpoint.packed) {
    packed[py::str(name)] = py::dict(
        py::arg("codes") = ToArray(std::move(entry.codes), name), py::arg("bits") = entry.bits,
        py::arg("axis") = entry.axis, py::arg("group_size") = entry.group_size,
        py::arg("scale") = entry.scale, py::arg("zero_point") = entry.zero_point);
  }
  return py::dict(py::arg("plan") = checkpoint.plan, py::arg("graph") = checkpoint.graph,
                  py::arg("tensors") = tensors, py::arg("packed") = packed,
                  py::arg("extra") = checkpoint.extra);
}

py::dict ReadHeader(const py::handle& path) {
  const CheckpointHeader header = ReadCheckpointHeader(FsPath(path));
  py::list entries;
  for (const CheckpointEntry& entry : header.entries) {
    entries.append(py::dict(py::arg("name") = entry.name, py::arg("dtype") = entry.dtype,
                            py::arg("shape") = entry.shape, py::arg("bytes") = entry.bytes,
                            py::arg("bits") = entry.bits));
  }
  return py::dict(py::arg("version") = header.version, py::arg("kind") = header.kind,
                  py::arg("layout") = header.layout, py::arg("producer") = header.producer,
                  py::arg("plan") = header.plan, py::arg("graph") = header.graph,
                  py::arg("entries") = entries);
}

py::tuple ReadSafetensors(const py::handle& path) {
  const SafetensorsReader reader(FsPath(path));
  py::dict tensors;
  for (const SafetensorsEntry& entry : reader.entries()) {
    py::array array(DTypeOfCode(entry.dtype, entry.name), entry.shape);
    reader.Read(
        entry, 0,
        {static_cast<std::byte*>(array.mutable_data()), static_cast<std::size_t>(array.nbytes())});
    tensors[py::str(entry.name)] = array;
  }
  return py::make_tuple(tensors, reader.metadata());
}

void SaveSafetensors(const py::handle& path, const std::map<std::string, py::object>& tensors,
                     const std::map<std::string, std::string>& metadata) {
  Arrays arrays;
  std::vector<SafetensorsItem> items;
  for (const auto& [name, object] : tensors) {
    const py::array array = arrays.Keep(object);
    const std::span<const std::byte> bytes = BytesOf(array);
    items.push_back({name, CodeOfArray(array, name), ShapeOf(array),
                     [bytes](const ByteSink& sink) { sink(bytes); }});
  }
  const std::string file = FsPath(path);
  const py::gil_scoped_release release;
  WriteSafetensors(file, std::move(items), metadata);
}

// The bytes of any object with a contiguous buffer, held while they are written.
class Buffer {
 public:
  explicit Buffer(const py::handle& object) {
    if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw py::error_already_set();
  }
  ~Buffer() { PyBuffer_Release(&view_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return {static_cast<const std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

void WriteBuffer(AtomicWriter& writer, const py::handle& object) {
  const Buffer buffer(object);
  const py::gil_scoped_release release;
  writer.Write(buffer.bytes());
}

void Commit(AtomicWriter& writer) {
  const py::gil_scoped_release release;
  writer.Commit();
}

void AtomicWrite(const py::handle& path, const py::object& data) {
  AtomicWriter writer(FsPath(path));
  if (PyObject_CheckBuffer(data.ptr()) != 0) {
    WriteBuffer(writer, data);
  } else {
    for (const py::handle piece : data) WriteBuffer(writer, piece);
  }
  Commit(writer);
}

}  // namespace

void BindCheckpoint(py::module_& m) {
  m.def("save_checkpoint", &Save, py::arg("path"), py::kw_only(), py::arg("plan"), py::arg("graph"),
        py::arg("tensors"), py::arg("packed"),
        py::arg("extra") = std::map<std::string, std::string>(),
        "Write a quantized checkpoint atomically. plan, graph: JSON text or ''; tensors: name to "
        "array; packed: name to "
        "{codes, bits, axis, group_size, scale, zero_point}. ValueError, OSError.");
  m.def("load_checkpoint", &Load, py::arg("path"), py::kw_only(), py::arg("verify") = true,
        "Read what save_checkpoint wrote, as a dict of its arguments. FormatError, OSError.");
  m.def("read_header", &ReadHeader, py::arg("path"),
        "What a checkpoint says about itself, without its data. FormatError, OSError.");
  m.def("read_safetensors", &ReadSafetensors, py::arg("path"),
        "(arrays by name, metadata). FormatError, OSError.");
  m.def("write_safetensors", &SaveSafetensors, py::arg("path"), py::arg("tensors"),
        py::arg("metadata") = std::map<std::string, std::string>(),
        "Write arrays by name and text metadata atomically. ValueError, OSError.");
  m.def("atomic_write", &AtomicWrite, py::arg("path"), py::arg("data"),
        "Write bytes, or an iterable of buffers, so that readers see the old or the new file. "
        "OSError.");
  m.def(
      "crc32c",
      [](const py::object& data, std::uint32_t crc) {
        return internal::Crc32c(Buffer(data).bytes(), crc);
      },
      py::arg("data"), py::arg("crc") = 0, "CRC-32C of a buffer, appended to what gave crc.");
  py::class_<AtomicWriter>(m, "AtomicWriter",
                           "A temporary beside path that commit() renames to path.")
      .def(py::init(
               [](const py::handle& path) { return std::make_unique<AtomicWriter>(FsPath(path)); }),
           py::arg("path"))
      .def("write", &WriteBuffer, py::arg("data"), "Append the bytes of a buffer. OSError.")
      .def("commit", &Commit, "fsync, rename, fsync of the directory. OSError.")
      .def("abort", &AtomicWriter::Abort, "Remove the temporary; nothing after commit().")
      .def_property_readonly("temporary_path", [](const AtomicWriter& writer) {
        return py::reinterpret_steal<py::str>(
            PyUnicode_DecodeFSDefault(writer.temporary_path().c_str()));
      });
}

}  // namespace edgeqat::python
