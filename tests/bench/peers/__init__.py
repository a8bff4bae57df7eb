# SPDX-License-Identifier: Apache-2.0
"""The same networks, quantized by other toolkits: for measurements side by side, never imported by the library."""
