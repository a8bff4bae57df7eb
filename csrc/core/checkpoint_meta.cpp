// SPDX-License-Identifier: Apache-2.0
// Builds and parses the checkpoint's metadata.
#include "core/checkpoint_meta.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/crc32c.h"
#include "core/json_text.h"
#include "edgeqat/checkpoint.h"
#include "edgeqat/packing.h"
#include "edgeqat/version.h"

namespace edgeqat::internal {
namespace {

using Json = nlohmann::json;

constexpr char kKind[] = "quantized";
constexpr char kAlgorithm[] = "crc32c";

// The entry of one tensor has names of at most 64 KiB twice; more text than this is an attack.
constexpr std::size_t kMaxEntryText = 1 << 20;

std::string Found(std::string_view text) { return absl::StrCat("'", Printable(text), "'"); }

// One member's text as a tree; `text` was checked.
Json Tree(std::string_view text, const std::string& field, const FileCheck& check) {
  if (text.size() > kMaxEntryText) {
    check.Fail(field, absl::StrCat("at most ", kMaxEntryText, " bytes of text"),
               absl::StrCat(text.size()));
  }
  return Json::parse(text);
}

std::string TextMember(const Json& tree, const std::string& field, const FileCheck& check) {
  if (!tree.is_string()) check.Fail(field, "text", Found(tree.dump()));
  return tree.get<std::string>();
}

std::int64_t Integer(const Json& tree, const std::string& field, const FileCheck& check) {
  if (!tree.is_number_integer() ||
      (tree.is_number_unsigned() &&
       tree.get<std::uint64_t>() >
           static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))) {
    check.Fail(field, "a whole number below 2^63", Found(tree.dump()));
  }
  return tree.get<std::int64_t>();
}

std::optional<std::int64_t> OptionalInteger(const Json& tree, const std::string& field,
                                            const FileCheck& check) {
  return tree.is_null() ? std::nullopt : std::optional(Integer(tree, field, check));
}

PackedMeta ParsePacked(const std::string& name, const Json& tree, const FileCheck& check) {
  const auto member = [&](const char* key) -> const Json& {
    if (!tree.is_object() || !tree.contains(key)) {
      check.Fail(FileCheck::Field("tensors", name, key), "a value", "none");
    }
    return tree[key];
  };
  const auto field = [&](std::string_view key) { return FileCheck::Field("tensors", name, key); };
  PackedMeta packed;
  const std::int64_t bits = Integer(member("bits"), field("bits"), check);
  if (bits < 2 || bits > 8) check.Fail(field("bits"), "2 to 8", absl::StrCat(bits));
  packed.bits = static_cast<int>(bits);
  const Json& shape = member("shape");
  if (!shape.is_array() || shape.size() > 8) {
    check.Fail(field("shape"), "a list of at most 8 numbers", Found(shape.dump()));
  }
  for (const Json& extent : shape) {
    packed.shape.push_back(Integer(extent, field("shape"), check));
    if (packed.shape.back() < 0) check.Fail(field("shape"), "numbers >= 0", Found(shape.dump()));
  }
  const Json& is_signed = member("signed");
  if (!is_signed.is_boolean())
    check.Fail(field("signed"), "true or false", Found(is_signed.dump()));
  packed.is_signed = is_signed.get<bool>();
  packed.axis = OptionalInteger(member("axis"), field("axis"), check);
  packed.group_size = OptionalInteger(member("group_size"), field("group_size"), check);
  packed.scale = TextMember(member("scale"), field("scale"), check);
  packed.zero_point = TextMember(member("zero_point"), field("zero_point"), check);
  return packed;
}

Json PackedJson(const PackedMeta& packed) {
  const auto optional = [](const std::optional<std::int64_t>& value) {
    return value ? Json(*value) : Json(nullptr);
  };
  return {{"bits", packed.bits},
          {"shape", packed.shape},
          {"signed", packed.is_signed},
          {"axis", optional(packed.axis)},
          {"group_size", optional(packed.group_size)},
          {"scale", packed.scale},
          {"zero_point", packed.zero_point}};
}

std::uint32_t ParseDigits(const Json& tree, const std::string& field, const FileCheck& check) {
  const std::string text = TextMember(tree, field, check);
  std::uint32_t value = 0;
  if (text.size() != 8 || text.find_first_not_of("0123456789abcdef") != std::string::npos ||
      !absl::SimpleHexAtoi(text, &value)) {
    check.Fail(field, "8 hexadecimal digits in lower case", Found(text));
  }
  return value;
}

void ParseChecksum(std::string_view text, const std::function<bool(const std::string&)>& is_tensor,
                   CheckpointMeta& meta, const FileCheck& check) {
  if (!text.starts_with('{')) check.Fail("checksum", "a JSON object", Found(text));
  std::string algorithm;
  ForEachJsonMember(text, [&](const std::string& key, std::string_view value) {
    if (key == "algorithm")
      algorithm = TextMember(Tree(value, "checksum.algorithm", check), "checksum.algorithm", check);
    if (key != "tensors") return;
    if (!value.starts_with('{')) check.Fail("checksum.tensors", "a JSON object", Found(value));
    ForEachJsonMember(value, [&](const std::string& name, std::string_view digits) {
      const std::string field = FileCheck::Field("checksum.tensors", name);
      if (!is_tensor(name)) check.Fail(field, "the name of a tensor of the file", "no such tensor");
      meta.checksums[name] = ParseDigits(Tree(digits, field, check), field, check);
    });
  });
  if (algorithm != kAlgorithm) check.Fail("checksum.algorithm", kAlgorithm, Found(algorithm));
}

// The version comes first: of a newer one, nothing else may be understood.
void CheckVersion(std::string_view text, CheckpointMeta& meta, const FileCheck& check) {
  std::string version;
  ForEachJsonMember(text, [&](const std::string& key, std::string_view value) {
    if (key == "version") version = value;
    if (key == "producer")
      meta.producer = TextMember(Tree(value, "producer", check), "producer", check);
  });
  if (version.empty()) check.Fail("version", "a whole number", "none");
  meta.version = Integer(Tree(version, "version", check), "version", check);
  if (meta.version < 1 || meta.version > kCheckpointVersion) {
    check.Fail(
        "version",
        absl::StrCat("1 to ", kCheckpointVersion, ", which edgeqat ", Version(), " reads"),
        absl::StrCat(meta.version, " (written by ", Printable(meta.producer), "); update edgeqat"));
  }
}

// JSON text that goes into the whole as one value: it must not close its place and open another.
void CheckValue(const std::string& text, const std::string& field, const FileCheck& check) {
  const std::string object = absl::StrCat("{\"value\":", text, "}");
  CheckJsonObject(object, field, check);
  std::size_t members = 0;
  ForEachJsonMember(object, [&](const std::string&, std::string_view) { ++members; });
  if (members != 1) check.Fail(field, "one JSON value", Found(text));
}

bool IsKnown(std::string_view key) {
  return key == "version" || key == "kind" || key == "layout" || key == "producer" ||
         key == "plan" || key == "graph" || key == "tensors" || key == "checksum";
}

}  // namespace

std::string MetaText(const CheckpointMeta& meta, const FileCheck& check) {
  if (!meta.plan.empty()) CheckJsonObject(meta.plan, "plan", check, 1);
  if (!meta.graph.empty()) CheckJsonObject(meta.graph, "graph", check, 1);
  Json packed = Json::object();
  for (const auto& [name, entry] : meta.packed) packed[name] = PackedJson(entry);
  Json checksums = Json::object();
  for (const auto& [name, crc] : meta.checksums) checksums[name] = Crc32cText(crc);
  std::string text;
  try {
    text = absl::StrCat(
        "{\"version\":", kCheckpointVersion, ",\"kind\":\"", kKind, "\",\"layout\":\"",
        std::string(kPackedLayout), "\",\"producer\":\"edgeqat ", Version(),
        "\",\"plan\":", meta.plan.empty() ? "null" : meta.plan,
        ",\"graph\":", meta.graph.empty() ? "null" : meta.graph, ",\"tensors\":", packed.dump(),
        ",\"checksum\":{\"algorithm\":\"", kAlgorithm, "\",\"tensors\":", checksums.dump(), "}");
    for (const auto& [key, value] : meta.extra) {
      CheckValue(value, FileCheck::Field("extra", key), check);
      if (IsKnown(key))
        check.Fail(FileCheck::Field("extra", key), "a name the format does not use", "one it uses");
      absl::StrAppend(&text, ",", Json(key).dump(), ":", value);
    }
  } catch (const Json::exception&) {
    check.Fail("tensors", "names in UTF-8", "other bytes");
  }
  return text + "}";
}

CheckpointMeta ParseMeta(std::string_view text,
                         const std::function<bool(const std::string&)>& is_tensor,
                         const FileCheck& check) {
  CheckJsonObject(text, kMetaKey, check);
  CheckpointMeta meta;
  CheckVersion(text, meta, check);
  const auto object_or_null = [&](std::string_view value, const char* field) {
    if (value != "null" && !value.starts_with('{'))
      check.Fail(field, "a JSON object or null", Found(value));
    return std::string(value == "null" ? "" : value);
  };
  unsigned seen = 0;
  ForEachJsonMember(text, [&](const std::string& key, std::string_view value) {
    if (key == "kind") {
      meta.kind = TextMember(Tree(value, key, check), key, check);
    } else if (key == "layout") {
      meta.layout = TextMember(Tree(value, key, check), key, check);
    } else if (key == "plan") {
      meta.plan = object_or_null(value, "plan");
      seen |= 1;
    } else if (key == "graph") {
      meta.graph = object_or_null(value, "graph");
      seen |= 2;
    } else if (key == "tensors") {
      if (!value.starts_with('{')) check.Fail(key, "a JSON object", Found(value));
      ForEachJsonMember(value, [&](const std::string& name, std::string_view entry) {
        const std::string field = FileCheck::Field("tensors", name);
        if (!is_tensor(name))
          check.Fail(field, "the name of a tensor of the file", "no such tensor");
        meta.packed[name] = ParsePacked(name, Tree(entry, field, check), check);
      });
      seen |= 4;
    } else if (key == "checksum") {
      ParseChecksum(value, is_tensor, meta, check);
    } else if (!IsKnown(key)) {
      meta.extra.emplace(key, value);
    }
  });
  if (meta.kind != kKind) check.Fail("kind", absl::StrCat("'", kKind, "'"), Found(meta.kind));
  if (meta.layout != kPackedLayout) {
    check.Fail("layout", absl::StrCat("'", std::string(kPackedLayout), "'"), Found(meta.layout));
  }
  if (seen != 7) check.Fail(kMetaKey, "plan, graph and tensors", "one missing");
  return meta;
}

HeaderDigest::HeaderDigest(const std::map<std::string, std::string>& metadata) {
  constexpr std::string_view kEnd("\0", 1);
  for (const auto& [key, value] : metadata) {
    if (key == kHeaderChecksumKey) continue;
    for (const std::string_view part :
         {std::string_view(key), kEnd, std::string_view(value), kEnd}) {
      crc_ = Crc32c(part, crc_);
    }
  }
}

void HeaderDigest::Add(std::string_view name, std::string_view dtype,
                       const std::vector<std::int64_t>& shape) {
  const std::string line =
      absl::StrCat(std::string(name), std::string(1, '\0'), std::string(dtype),
                   std::string(1, '\0'), absl::StrJoin(shape, ","), std::string(1, '\0'));
  crc_ = Crc32c(line, crc_);
}

std::string HeaderDigest::Text() const { return Crc32cText(crc_); }

}  // namespace edgeqat::internal
