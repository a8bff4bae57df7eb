// SPDX-License-Identifier: Apache-2.0
// Refuses checkpoints that contradict themselves.
#include "core/checkpoint_check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "core/json_text.h"

namespace edgeqat::internal {
namespace {

using Json = nlohmann::json;

template <typename T>
std::span<const T> Values(const TensorView& tensor) {
  return {reinterpret_cast<const T*>(tensor.data.data()), tensor.data.size() / sizeof(T)};
}

TensorView Require(const std::string& name, DType dtype, const std::string& field,
                   const TensorLookup& lookup, const FileCheck& check) {
  const std::optional<TensorView> tensor = lookup(name);
  if (!tensor) {
    check.Fail(field, "the name of a tensor of the file that is not packed",
               absl::StrCat("'", Printable(name), "', which is none"));
  }
  if (tensor->dtype != dtype) {
    check.Fail(field, absl::StrCat("a tensor of ", std::string(DTypeName(dtype))),
               absl::StrCat("'", Printable(name), "' of ", std::string(DTypeName(tensor->dtype))));
  }
  return *tensor;
}

void CheckScale(const TensorView& scale, const std::string& field, const FileCheck& check) {
  const auto values = Values<float>(scale);
  const auto bad =
      std::ranges::find_if(values, [](float s) { return !(std::isfinite(s) && s > 0.0F); });
  if (bad != values.end()) {
    check.Fail(field, "finite values > 0",
               absl::StrCat(*bad, " at element ", bad - values.begin()));
  }
}

// Per tensor: one element, as [1] or as a scalar.
std::vector<std::int64_t> ScaleShape(const PackedMeta& packed,
                                     const std::vector<std::int64_t>& found) {
  if (!packed.axis) return found.empty() ? found : std::vector<std::int64_t>{1};
  const auto axis = static_cast<std::size_t>(*packed.axis);
  if (!packed.group_size) return {packed.shape[axis]};
  std::vector<std::int64_t> shape = packed.shape;
  shape[axis] /= *packed.group_size;
  return shape;
}

void CheckQuant(const std::string& name, const Json& quant, const TensorLookup& lookup,
                const FileCheck& check) {
  for (const char* key : {"scale", "zero_point"}) {
    const std::string field = FileCheck::Field("graph.tensors", name, absl::StrCat("quant.", key));
    const auto found = quant.find(key);
    if (found == quant.end() || !found->is_string())
      check.Fail(field, "the name of a tensor", "none");
    const bool is_scale = std::strcmp(key, "scale") == 0;
    const TensorView tensor =
        Require(found->get<std::string>(), is_scale ? DType::kFloat32 : DType::kInt32, field,
                lookup, check);
    if (is_scale) CheckScale(tensor, field, check);
  }
}

void CheckConstant(const std::string& name, const Json& entry,
                   const std::map<std::string, PackedMeta>& packed, const TensorLookup& lookup,
                   const FileCheck& check) {
  const auto field = [&](std::string_view member) {
    return FileCheck::Field("graph.tensors", name, member);
  };
  std::vector<std::int64_t> shape;
  std::string dtype;
  const auto found = packed.find(name);
  if (found != packed.end()) {
    shape = found->second.shape;
    dtype = found->second.is_signed ? "int8" : "uint8";
    const Json quant = entry.value("quant", Json());
    if (!quant.is_object() || quant.value("bits", Json()) != Json(found->second.bits)) {
      check.Fail(field("quant.bits"),
                 absl::StrCat(found->second.bits, ", the bits of the packed tensor"),
                 quant.is_object() ? Printable(quant.value("bits", Json()).dump()) : "no quant");
    }
  } else if (const std::optional<TensorView> tensor = lookup(name)) {
    shape = tensor->shape;
    dtype = DTypeName(tensor->dtype);
  } else {
    check.Fail(field({}), "a tensor of that name in the file, as it is a constant", "none");
  }
  if (const Json said = entry.value("dtype", Json()); said != Json(dtype)) {
    check.Fail(field("dtype"), absl::StrCat("'", dtype, "', as in the file"),
               Printable(said.dump()));
  }
  if (const Json said = entry.value("shape", Json()); said != Json(shape)) {
    check.Fail(field("shape"), absl::StrCat(ShapeString(shape), ", as in the file"),
               Printable(said.dump()));
  }
}

}  // namespace

int ContainerBits(int bits) { return bits <= 2 ? 2 : bits <= 4 ? 4 : 8; }

void CheckPacked(const std::string& name, const PackedMeta& packed, const TensorLookup& lookup,
                 const FileCheck& check) {
  const auto field = [&](std::string_view member) {
    return FileCheck::Field("tensors", name, member);
  };
  if (packed.bits < 2 || packed.bits > 8)
    check.Fail(field("bits"), "2 to 8", absl::StrCat(packed.bits));
  const auto dims = static_cast<std::int64_t>(packed.shape.size());
  if (packed.axis && (*packed.axis < 0 || *packed.axis >= dims)) {
    check.Fail(field("axis"), absl::StrCat("0 to ", dims - 1, " or none"),
               absl::StrCat(*packed.axis));
  }
  if (packed.group_size && !packed.axis)
    check.Fail(field("axis"), "an axis, as group_size is given", "none");
  if (packed.group_size &&
      (*packed.group_size <= 0 ||
       packed.shape[static_cast<std::size_t>(*packed.axis)] % *packed.group_size != 0)) {
    check.Fail(field("group_size"),
               absl::StrCat("a divisor of ", packed.shape[static_cast<std::size_t>(*packed.axis)],
                            ", the extent of axis ", *packed.axis),
               absl::StrCat(*packed.group_size));
  }
  const TensorView scale = Require(packed.scale, DType::kFloat32, field("scale"), lookup, check);
  const TensorView zero_point =
      Require(packed.zero_point, DType::kInt32, field("zero_point"), lookup, check);
  const std::vector<std::int64_t> shape = ScaleShape(packed, scale.shape);
  if (scale.shape != shape) {
    check.Fail(field("scale"), absl::StrCat("shape ", ShapeString(shape)),
               ShapeString(scale.shape));
  }
  if (zero_point.shape != shape) {
    check.Fail(field("zero_point"), absl::StrCat("shape ", ShapeString(shape)),
               ShapeString(zero_point.shape));
  }
  CheckScale(scale, field("scale"), check);
  const std::int32_t low = packed.is_signed ? -(1 << (packed.bits - 1)) : 0;
  const std::int32_t high = low + (1 << packed.bits) - 1;
  for (const std::int32_t value : Values<std::int32_t>(zero_point)) {
    if (value < low || value > high) {
      check.Fail(field("zero_point"), absl::StrCat("values in [", low, ", ", high, "]"),
                 absl::StrCat(value));
    }
  }
}

void CheckCodes(const std::string& name, const TensorView& codes, int bits,
                const FileCheck& check) {
  if (bits == 8) return;
  const bool is_signed = codes.dtype == DType::kInt8;
  const int low = is_signed ? -(1 << (bits - 1)) : 0;
  const int high = low + (1 << bits) - 1;
  const auto scan = [&](auto values) {
    auto least = values.front();
    auto most = values.front();
    for (const auto value :
         values) {  // one instruction each for 16 codes; ranges::minmax is scalar
      least = std::min(least, value);
      most = std::max(most, value);
    }
    if (least < low || most > high) {
      check.Fail(FileCheck::Field("tensors", name, "codes"),
                 absl::StrCat("values in [", low, ", ", high, "] for ", bits, " bits"),
                 absl::StrCat(static_cast<int>(least), " to ", static_cast<int>(most)));
    }
  };
  if (codes.data.empty()) return;
  if (is_signed) {
    scan(Values<std::int8_t>(codes));
  } else {
    scan(Values<std::uint8_t>(codes));
  }
}

void CheckGraph(std::string_view graph, const std::map<std::string, PackedMeta>& packed,
                const TensorLookup& lookup, const FileCheck& check) {
  std::string_view tensors;
  ForEachJsonMember(graph, [&](const std::string& key, std::string_view value) {
    if (key == "tensors") tensors = value;
  });
  if (!tensors.starts_with('{'))
    check.Fail("graph.tensors", "a JSON object", Printable(tensors, 40));
  ForEachJsonMember(tensors, [&](const std::string& name, std::string_view text) {
    const std::string field = FileCheck::Field("graph.tensors", name);
    // Twice the longest name and eight extents; more text than this is an attack on the memory.
    constexpr std::size_t kMaxText = 1 << 18;
    if (text.size() > kMaxText)
      check.Fail(field, absl::StrCat("at most ", kMaxText, " bytes"), absl::StrCat(text.size()));
    const Json entry = Json::parse(text);
    if (!entry.is_object()) check.Fail(field, "a JSON object", Printable(text));
    const Json quant = entry.value("quant", Json());
    if (!quant.is_null() && !quant.is_object()) {
      check.Fail(FileCheck::Field("graph.tensors", name, "quant"), "an object or null",
                 Printable(quant.dump()));
    }
    if (quant.is_object()) CheckQuant(name, quant, lookup, check);
    if (entry.value("constant", Json()) == Json(true))
      CheckConstant(name, entry, packed, lookup, check);
  });
}

}  // namespace edgeqat::internal
