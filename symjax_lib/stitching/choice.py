"""The class of stitches that theory names for an activation, and where to start it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from symjax_lib import groups, intertwiners
from symjax_lib.stitching import group_maps
from symjax_lib.stitching.maps import Params, Stitch

# By whether the images of the group have signs, and whether they have scales.
_CLASSES = {
    (False, False): group_maps.permutation,
    (False, True): group_maps.g_relu,
    (True, False): group_maps.signed_permutation,
    (True, True): group_maps.monomial,
}


def of_activation(sigma: Callable[[jax.Array], jax.Array], n: int) -> Stitch:
    r"""Returns the stitches :math:`\varphi(G_\sigma)` of an activation.

    Args:
      sigma: any scalar function, which `intertwiners.classify` understands; not a
        linear one.
      n: number of channels.

    Raises:
      ValueError: sigma is linear, so that every matrix is in its group.

    Example:
      >>> of_activation(jax.nn.relu, 4) is group_maps.g_relu(4)
      True
      >>> of_activation(jnp.square, 4) is group_maps.g_relu(4)  # no signs
      True
      >>> of_activation(jnp.tanh, 4) is group_maps.signed_permutation(4)
      True

    References:
      Godfrey et al. 2022, Theorem 3.3 and section 4.1.
    """
    found = intertwiners.classify(sigma)
    if found.kind == "general_linear":
        raise ValueError(
            "of_activation: this activation is linear and every matrix passes; use "
            "stitching.full."
        )
    signed = found.parity == "odd"
    scaled = found.kind in ("positive_monomial", "monomial") and found.exponent != 0
    return _CLASSES[signed, scaled](n)


def of_element(element: groups.Permutation | groups.Monomial) -> Params:
    """Returns the parameters at which a stitch starts from an element of its group.

    For "entropic" stitches take the logarithm of the matrix, moved away from 0.

    Args:
      element: such as a `matching` or that of a Procrustes result.

    Returns:
      `{"matrix": P}` for a permutation, `{"matrix": P with signs, "scale": |D|}` for
      a `Monomial`.

    Example:
      >>> swap = groups.Permutation(jnp.array([1, 0]))
      >>> g = groups.Monomial(swap, jnp.array([2.0, 3.0]))
      >>> of_element(g)["scale"].tolist()
      [2.0, 3.0]
    """
    if isinstance(element, groups.Permutation):
        return {"matrix": groups.as_matrix(element)}
    signs = jnp.where(element.scale < 0, -1.0, 1.0)
    matrix = groups.as_matrix(element.permutation) * signs
    return {"matrix": matrix, "scale": jnp.abs(element.scale)}
