# SPDX-License-Identifier: Apache-2.0
"""ResNet-20 on CIFAR-10 (JPEG copy) at 4, 3 and 2 bits with learned steps, against float of as many epochs.

    python examples/cifar10_low_bits.py --data DIR    # about 20 minutes a row and seed; can be resumed

Every row starts from the published weights and gets the same epochs, schedule, augmentation and
seeds. W2A4 is 2-bit weights with 4-bit activations. The first and last layer and the residual sums
keep 8 bits. Choices were made on JPEG test images 0..4,999; images 5,000..9,999 are reported.
"""

from __future__ import annotations

import torch

import datasets
from cifar10_qat import task
from comparison import arguments, compare

ROWS = ("float", "LSQ W4A4", "LSQ W3A3", "LSQ W2A4", "LSQ W2A2")
EPOCHS = 12


def main() -> None:
    options = arguments(__doc__, "cifar10_low_bits", rows=ROWS)
    torch.manual_seed(0)
    compare(task(datasets.data_folder(options.data), EPOCHS), options, {})


if __name__ == "__main__":
    main()
