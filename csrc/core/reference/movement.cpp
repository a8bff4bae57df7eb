// SPDX-License-Identifier: Apache-2.0
// Ops that only move elements: codes stay codes where the parameters agree, else values go over
// float32.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/reference/node_run.h"

namespace edgeqat::reference {
namespace {

std::vector<std::int64_t> Strides(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// A box of elements in memory: strides count elements of `size` bytes.
struct View {
  std::int64_t offset = 0;
  std::vector<std::int64_t> strides;
};

// Copies shape-many elements from one view to another.
void CopyBox(const Shape& shape, std::size_t size, const std::byte* from, const View& source,
             std::byte* to, const View& target) {
  if (NumElements(shape) == 0) return;
  const std::size_t rank = shape.size();
  std::vector<std::int64_t> index(rank, 0);
  std::int64_t a = source.offset;
  std::int64_t b = target.offset;
  const bool rows = rank > 0 && source.strides[rank - 1] == 1 && target.strides[rank - 1] == 1;
  const std::size_t outer = rows ? rank - 1 : rank;
  const std::size_t bytes = size * static_cast<std::size_t>(rows ? shape[rank - 1] : 1);
  for (bool more = true; more;) {
    std::memcpy(to + b * static_cast<std::int64_t>(size),
                from + a * static_cast<std::int64_t>(size), bytes);
    more = false;
    for (std::size_t i = outer; i-- > 0;) {
      a += source.strides[i];
      b += target.strides[i];
      if (++index[i] < shape[i]) {
        more = true;
        break;
      }
      a -= source.strides[i] * shape[i];
      b -= target.strides[i] * shape[i];
      index[i] = 0;
    }
  }
}

// One piece of an output: input i, read through `source`, lands at `target`.
struct Piece {
  std::size_t input = 0;
  Shape shape;
  View source;
  View target;
};

// Puts the pieces together as codes where all inputs share the output's parameters (float32 and
// index tensors likewise keep their bits), over float32 otherwise. `fill` is the value between the
// pieces.
Tensor Assemble(const NodeRun& run, const Shape& out_shape, const std::vector<Piece>& pieces,
                float fill = 0.0F) {
  bool codes = true;
  for (const Piece& piece : pieces) codes = codes && run.MovesCodes(piece.input);
  if (codes && (run.output != nullptr || run.output_dtype != DType::kFloat32)) {
    run.Expect(fill == 0.0F || run.output != nullptr, "attributes.value",
               "expected 0 for a tensor of integers");
    Tensor out = Tensor::Zeros(run.output_dtype, out_shape);
    if (run.output != nullptr) {
      std::ranges::fill(out.data, static_cast<std::byte>(QuantizeOne(*run.output, fill)));
    }
    for (const Piece& piece : pieces) {
      CopyBox(piece.shape, SizeOf(out.dtype), run.inputs[piece.input].tensor->data.data(),
              piece.source, out.data.data(), piece.target);
    }
    return out;
  }
  std::vector<float> out(static_cast<std::size_t>(NumElements(out_shape)), fill);
  for (const Piece& piece : pieces) {
    const Floats x(run.inputs[piece.input]);
    CopyBox(piece.shape, sizeof(float), reinterpret_cast<const std::byte*>(x.data()), piece.source,
            reinterpret_cast<std::byte*>(out.data()), piece.target);
  }
  return run.Finish(std::move(out), out_shape);
}

Tensor AssembleOne(const NodeRun& run, const Shape& out_shape, const Shape& shape, View source,
                   View target, float fill = 0.0F) {
  std::vector<Piece> pieces(1);
  pieces[0].shape = shape;
  pieces[0].source = std::move(source);
  pieces[0].target = std::move(target);
  return Assemble(run, out_shape, pieces, fill);
}

Tensor CopyAll(const NodeRun& run, const Shape& out_shape) {
  const View flat{0, {1}};
  return AssembleOne(run, out_shape, {run.inputs[0].tensor->NumElements()}, flat, flat);
}

}  // namespace

Tensor RunReshape(const NodeRun& run) {
  if (run.node.op == "identity") return CopyAll(run, run.ShapeOf(0));
  Shape shape = run.Ints("shape");
  const std::int64_t count = run.inputs[0].tensor->NumElements();
  Shape without = shape;
  std::ranges::replace(without, -1, 1);
  const std::int64_t known = NumElements(without);
  for (std::int64_t& extent : shape) {
    if (extent == -1) extent = known > 0 ? count / known : 0;
  }
  run.Expect(NumElements(shape) == count, "attributes.shape",
             "expected a shape of " + std::to_string(count) + " elements, found " +
                 ShapeString(run.Ints("shape")) + " for an input of " +
                 ShapeString(run.ShapeOf(0)));
  return CopyAll(run, shape);
}

Tensor RunStrided(const NodeRun& run) {
  const Shape& in = run.ShapeOf(0);
  const auto in_strides = Strides(in);
  View source{0, in_strides};
  Shape out = in;
  if (run.node.op == "transpose") {
    const Shape& permutation = run.Ints("permutation");
    for (std::size_t i = 0; i < in.size(); ++i) {
      out[i] = in[permutation[i]];
      source.strides[i] = in_strides[permutation[i]];
    }
  } else if (run.node.op == "slice") {
    const std::int64_t axis = run.Int("axis");
    const std::int64_t extent = in[axis];
    const auto wrap = [extent](std::int64_t at) {
      return std::clamp<std::int64_t>(at < 0 ? at + extent : at, 0, extent);
    };
    const std::int64_t start = wrap(run.Int("start"));
    const std::int64_t end = std::max(start, wrap(run.Int("end")));
    const std::int64_t step = std::min(run.Int("step"), std::max<std::int64_t>(extent, 1));
    out[axis] = (end - start + step - 1) / step;
    source.offset = start * in_strides[axis];
    source.strides[axis] = in_strides[axis] * step;
  } else {  // expand
    const Shape& wanted = run.Ints("shape");
    const std::size_t added = wanted.size() - in.size();
    out = wanted;
    source.strides.assign(wanted.size(), 0);
    for (std::size_t i = added; i < wanted.size(); ++i) {
      const std::int64_t extent = in[i - added];
      if (wanted[i] == -1) out[i] = extent == 1 && i == 0 ? run.batch : extent;
      run.Expect(extent == 1 || extent == out[i], "attributes.shape",
                 "expected a shape that " + ShapeString(in) + " stretches to, found " +
                     ShapeString(wanted));
      source.strides[i] = extent == 1 ? 0 : in_strides[i - added];
    }
    run.Expect(std::ranges::find(out, -1) == out.end(), "attributes.shape",
               "expected an extent for every new dimension, found " + ShapeString(wanted));
  }
  return AssembleOne(run, out, out, std::move(source), {0, Strides(out)});
}

Tensor RunCat(const NodeRun& run) {
  const std::int64_t axis = run.Int("axis");
  Shape out = run.ShapeOf(0);
  out[axis] = 0;
  for (std::size_t i = 0; i < run.inputs.size(); ++i) {
    Shape same = run.ShapeOf(i);
    same[axis] = out[axis];
    run.Expect(same == out, "inputs[" + std::to_string(i) + "]",
               "expected the other inputs' extents beside the axis, found " +
                   ShapeString(run.ShapeOf(i)) + " after " + ShapeString(run.ShapeOf(0)));
    out[axis] += run.ShapeOf(i)[axis];
  }
  const auto strides = Strides(out);
  std::vector<Piece> pieces;
  std::int64_t at = 0;
  for (std::size_t i = 0; i < run.inputs.size(); ++i) {
    const Shape& shape = run.ShapeOf(i);
    pieces.push_back({i, shape, {0, Strides(shape)}, {at * strides[axis], strides}});
    at += shape[axis];
  }
  return Assemble(run, out, pieces);
}

Tensor RunPad(const NodeRun& run) {
  const Shape& in = run.ShapeOf(0);
  const Shape& pads = run.Ints("pads");
  Shape out = in;
  for (std::size_t i = 0; i < in.size(); ++i) out[i] += pads[i] + pads[in.size() + i];
  View target{0, Strides(out)};
  for (std::size_t i = 0; i < in.size(); ++i) target.offset += pads[i] * target.strides[i];
  const auto value = static_cast<float>(GetAttribute<double>(run.node, "value"));
  return AssembleOne(run, out, in, {0, Strides(in)}, std::move(target), value);
}

}  // namespace edgeqat::reference
