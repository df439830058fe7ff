"""Which changes of the features each measure does not see, as data."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from symjax_lib.similarity import cka, procrustes


class Measure(NamedTuple):
    """A similarity of two features, and what changes nothing on either side of it.

    Attributes:
      fn: `fn(x, y)`, a scalar, higher is closer, 1 for features equal up to all below.
      kind: the largest group of linear maps of the channels, one of `groups.KINDS`.
      scale: whether one common positive factor passes.
      shift: whether constants that are added to the channels pass.
    """

    fn: Callable[[jax.Array, jax.Array], jax.Array]
    kind: str
    scale: bool
    shift: bool


def _similarity(fn: Callable, **options: Any) -> Callable:
    return lambda x, y: fn(x, y, **options).similarity


def _with(fn: Callable, **options: Any) -> Callable:
    return lambda x, y: fn(x, y, **options)


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "g_relu_procrustes": Measure(
            _similarity(procrustes.g_relu_procrustes), "positive_monomial", True, False
        ),
        "g_relu_procrustes, centred": Measure(
            _similarity(procrustes.g_relu_procrustes, center=True),
            "positive_monomial", True, True,
        ),
        "orthogonal_procrustes": Measure(
            _similarity(procrustes.orthogonal_procrustes), "orthogonal", True, False
        ),
        "orthogonal_procrustes, centred": Measure(
            _similarity(procrustes.orthogonal_procrustes, center=True),
            "orthogonal", True, True,
        ),
        "permutation_procrustes": Measure(
            _similarity(procrustes.permutation_procrustes), "permutation", True, False
        ),
        "signed_permutation_procrustes": Measure(
            _similarity(procrustes.signed_permutation_procrustes),
            "signed_permutation", True, False,
        ),
        "g_relu_cka": Measure(cka.g_relu_cka, "monomial", True, True),
        "median_cka": Measure(cka.median_cka, "monomial", True, True),
        "laplace_cka": Measure(cka.laplace_cka, "monomial", True, True),
        "linear_cka": Measure(cka.linear_cka, "orthogonal", True, True),
        "linear_cka, biased": Measure(
            _with(cka.linear_cka, debiased=False), "orthogonal", True, True
        ),
        "linear_cka, channel_norm": Measure(
            _with(cka.linear_cka, channel_norm=True), "monomial", True, True
        ),
        "rbf_cka": Measure(cka.rbf_cka, "orthogonal", True, True),
        "rbf_cka, sigma 10": Measure(
            _with(cka.rbf_cka, sigma=10.0), "orthogonal", False, True
        ),
    }
)  # fmt: skip
"""All measures by name, each with the largest group under which it is invariant."""
