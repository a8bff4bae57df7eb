# SPDX-License-Identifier: Apache-2.0
"""Recipes, plans and what is done with them: prepare, calibrate, convert."""
