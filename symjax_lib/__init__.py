"""Symmetries of neural networks in pure functional JAX."""

from symjax_lib import (
    groups as groups,
)
