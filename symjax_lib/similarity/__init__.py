"""Similarities of two networks' features, each invariant under a stated group.

There are measures for the group of ReLU and for rotations. Other activations have other
groups (`symmetry.trace` tells which), for which the closest measure with a larger group
is the one to take: for tanh, whose group has signs, `g_relu_cka`.
"""

from symjax_lib.similarity.cka import (
    cka_from_grams as cka_from_grams,
    g_relu_cka as g_relu_cka,
    hsic as hsic,
    linear_cka as linear_cka,
)
from symjax_lib.similarity.features import unit_channels as unit_channels
from symjax_lib.similarity.kernels import (
    linear_gram as linear_gram,
    max_gram as max_gram,
)
from symjax_lib.similarity.procrustes import (
    ProcrustesResult as ProcrustesResult,
    g_relu_procrustes as g_relu_procrustes,
    orthogonal_procrustes as orthogonal_procrustes,
)
