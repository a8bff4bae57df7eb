# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # PTQ against QAT over bit widths
#
# Post-training quantization (PTQ) rounds a trained network and calibrates the ranges of its
# activations. Quantization-aware training (QAT) goes on training with that rounding in place. How
# many bits does each need?
#
# Everything here takes a minute or two: the 8x8 digits of scikit-learn and a CNN of 24,000
# parameters.

# %%
import copy
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm.auto import tqdm

sys.path.insert(0, str(Path("..") / "examples"))
warnings.filterwarnings("ignore")

from torch.nn import functional as F

import datasets
import edgeqat
from edgeqat import Recipe
from networks import DigitsNet
from training import Normalization, accuracy, augment, batches, predictions

NORMALIZE = Normalization((0.3053,), (0.3760,), top=16.0)
BITS = [8, 6, 5, 4, 3, 2]
SEEDS = [0, 1, 2]
train_split, test_split = datasets.digits()
print(
    f"{len(train_split)} training images, {len(test_split)} test images, edgeqat {edgeqat.__version__}"
)

# %% [markdown]
# ## The float network
# An ordinary training loop. The same function trains float and quantized models: they are all
# `nn.Module`s.


# %%
def fit(model, epochs, lr, seed):
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)
    steps = len(train_split) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(train_split), generator=generator).split(64)[:steps]:
            images = augment(train_split.images[rows], 1, False, generator)
            loss = F.cross_entropy(model(NORMALIZE(images)), train_split.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def score(model):
    return accuracy(predictions(model, test_split, NORMALIZE), test_split)


float_models = {}
for seed in SEEDS:
    torch.manual_seed(seed)
    float_models[seed] = fit(DigitsNet(), epochs=15, lr=0.05, seed=seed)
float_scores = [score(m) for m in float_models.values()]
print("float test accuracy:", ", ".join(f"{s:.2f} %" for s in float_scores))

# %% [markdown]
# ## What a plan says
# One decision per tensor: its bits, or what it is fused into, or why it stays float.

# %%
example = NORMALIZE(train_split.images[:2])
plan = edgeqat.plan(float_models[0], (example,), recipe="int4", target="onnxruntime")
print(plan)


# %% [markdown]
# ## PTQ and QAT from 8 bits down to 2
# Here every layer gets the same width, the first and the last too (the default keeps those at 8
# bits: better accuracy, but it would hide what the width does). Left: narrow weights, 8-bit
# activations. Right: both narrow.


# %%
def recipe(weight_bits, activation_bits):
    return Recipe(weight_bits=weight_bits, activation_bits=activation_bits, first_last_bits=None)


def ptq(model, weight_bits, activation_bits):
    plan = edgeqat.plan(
        model, (example,), recipe=recipe(weight_bits, activation_bits), target="onnxruntime"
    )
    student = edgeqat.prepare(model, plan)
    return edgeqat.calibrate(student, batches(train_split[0:512], NORMALIZE, 64)).eval()


curves = {}
jobs = [(name, bits, seed) for name in ("weights", "both") for bits in BITS for seed in SEEDS]
for name, bits, seed in tqdm(jobs, desc="PTQ and QAT", mininterval=5.0):
    student = ptq(float_models[seed], bits, bits if name == "both" else 8)
    curves.setdefault((name, "PTQ", bits), []).append(score(student))
    fit(student, epochs=8, lr=0.02, seed=100 + seed)
    curves.setdefault((name, "QAT", bits), []).append(score(student))

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for axes, (name, title) in zip(
    panels,
    [("weights", "weights narrow, activations 8 bit"), ("both", "weights and activations narrow")],
    strict=True,
):
    for method, colour in (("PTQ", "tab:orange"), ("QAT", "tab:blue")):
        values = np.array([curves[name, method, bits] for bits in BITS])
        axes.errorbar(
            BITS, values.mean(1), values.std(1), marker="o", capsize=3, color=colour, label=method
        )
    axes.axhline(np.mean(float_scores), color="grey", linestyle=":", label="float")
    axes.set(xlabel="bits", title=title, xticks=BITS)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
panels[0].set_ylabel("test accuracy, %")
panels[0].legend()
plt.show()

print(
    f"{'bits':>4} {'PTQ W/8':>9} {'QAT W/8':>9} {'PTQ W/W':>9} {'QAT W/W':>9}   mean of {len(SEEDS)} seeds, %"
)
for bits in BITS:
    cells = [np.mean(curves[n, m, bits]) for n in ("weights", "both") for m in ("PTQ", "QAT")]
    print(f"{bits:>4} " + " ".join(f"{cell:9.2f}" for cell in cells))

# %% [markdown]
# ## What 4 bits do to a weight and to an activation
# The same network in float, after PTQ, and after QAT, weights and activations at 4 bits. A
# histogram of a quantized tensor is a comb: at most 16 values (per channel for weights, whose
# combs overlap).

# %%
quantized = ptq(float_models[0], 4, 4)
trained = fit(copy.deepcopy(quantized), epochs=8, lr=0.02, seed=100)
probe = NORMALIZE(test_split.images[:256])


def record(model, on):
    """Inputs and outputs of every quantizer, by the name of the tensor it quantizes."""
    edgeqat.enable_quantizers(model, weights=on, activations=on)
    seen, handles = {}, []
    for path, module in model.named_modules():
        if path.startswith("quantizers.") and hasattr(module, "scale"):

            def keep(_, inputs, output, name=path):
                seen[name.removeprefix("quantizers.")] = (inputs[0].detach(), output.detach())

            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model(probe)
    for handle in handles:
        handle.remove()
    edgeqat.enable_quantizers(model)
    return seen


before, after = record(quantized, on=False), record(quantized, on=True)
after_qat = record(trained, on=True)
weight = "conv1.weight"
candidates = [n for n in after if n.endswith(".output")]
activation = candidates[len(candidates) // 2]

figure, panels = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
for row, name in enumerate((weight, activation)):
    columns = [
        ("float", before[name][1]),
        ("PTQ, 4 bit", after[name][1]),
        ("QAT, 4 bit", after_qat[name][1]),
    ]
    for axes, (title, values) in zip(panels[row], columns, strict=True):
        if row == 0 and title != "float":
            values = values[0]  # one output channel: one scale, one comb
            title += ", channel 0"
        axes.hist(
            values.flatten().numpy(), bins=80, color="tab:blue" if title == "float" else "tab:green"
        )
        axes.set_title(f"{name.removesuffix('.output')}\n{title}", fontsize=9)
        axes.set_yticks([])
plt.show()

# %% [markdown]
# ## Where the noise enters: SQNR, layer by layer
# Signal-to-quantization-noise ratio of every activation against the float network: 10·log10(Σx² /
# Σ(x − x̂)²). Six decibels are one bit. Errors add up from layer to layer. After QAT the weights
# have moved, so the float network is no longer the signal; there each layer is held against the
# same weights with the rounding switched off.


# %%
def sqnr(reference, value):
    noise = float((reference - value).double().square().sum())
    return 10 * np.log10(float(reference.double().square().sum()) / max(noise, 1e-30))


names = [n for n in after if n.endswith(".output")]
lines = {}
for bits in (8, 6, 4):
    model = ptq(float_models[0], bits, bits)
    reference, values = record(model, on=False), record(model, on=True)
    lines[f"PTQ W{bits}A{bits}"] = [sqnr(reference[n][1], values[n][1]) for n in names]
reference = record(trained, on=False)
lines["QAT W4A4"] = [sqnr(reference[n][1], after_qat[n][1]) for n in names]

figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
for label, values in lines.items():
    axes.plot(range(len(names)), values, marker="o", label=label)
axes.set(ylabel="SQNR, dB", xticks=range(len(names)))
axes.set_xticklabels(
    [n.removesuffix(".output") for n in names], rotation=30, ha="right", fontsize=8
)
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %% [markdown]
# ## And the file?
# What was trained is what the exported file computes: ONNX Runtime against the trained model, on
# the test images.

# %%
edgeqat.export(trained, "digits_w4a4.onnx")
print(edgeqat.verify(trained, "digits_w4a4.onnx", batches(test_split, NORMALIZE, 64)))
Path("digits_w4a4.onnx").unlink()
