"""Symmetries of neural networks in pure functional JAX."""

from symjax_lib import (
    assignment as assignment,
    dissection as dissection,
    groups as groups,
    intertwiners as intertwiners,
    models as models,
    similarity as similarity,
    stitching as stitching,
    symmetry as symmetry,
    tracing as tracing,
)
