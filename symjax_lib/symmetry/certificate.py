"""Checks on real inputs that transformed variables give the same function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from symjax_lib import tracing
from symjax_lib.symmetry.action import act_on_outputs, act_on_tap
from symjax_lib.symmetry.elements import Element
from symjax_lib.symmetry.spec import SymmetrySpec


class Certificate(NamedTuple):
    r"""How far two sets of variables are from giving one function.

    Attributes:
      max_abs_error: largest difference in any output.
      max_rel_error: largest ratio, over the outputs, of the largest difference to the
        largest size.
      ok: whether all outputs are finite, and `max_rel_error` and all errors of taps are
        within `tolerance`.
      tolerance: what rounding may add up to.
      reason: why the tolerance is what it is.
      taps: for each named value the relative error of :math:`f_{\leq l}(x, W') =
        \phi(A_l) f_{\leq l}(x, W)`, equation (3.5); empty if no element was given.
    """

    max_abs_error: float
    max_rel_error: float
    ok: bool
    tolerance: float
    reason: str
    taps: dict[str, float]

    def __str__(self) -> str:
        verdict = "the same function" if self.ok else "NOT the same function"
        lines = [
            f"{verdict}: largest error {self.max_abs_error:.2g}, "
            f"relative {self.max_rel_error:.2g}",
            f"tolerance {self.tolerance:.2g}: {self.reason}",
            *(f"tap {name}: relative {error:.2g}" for name, error in self.taps.items()),
        ]
        return "\n".join(lines)


def certify(
    fn: Callable,
    variables: Any,
    transformed: Any,
    *inputs: Any,
    tolerance: float | None = None,
    spec: SymmetrySpec | None = None,
    element: Element | None = None,
) -> Certificate:
    """Compares a function's outputs before and after an action on its variables.

    Args:
      fn: any function `fn(variables, *inputs)`. Outputs that are whole numbers, such as
        a step count or a predicted class, must be equal.
      variables: a pytree.
      transformed: another one, such as `act(spec, g, variables)`.
      *inputs: real ones, of any batch size; random noise may leave whole layers dead.
      tolerance: on the relative error of each output. By default 1,000 times the
        spacing of floats at 1 in the coarsest precision of outputs and variables, and
        no more than 0.05 (1.2e-4 in float32, 2.2e-13 in float64), as the two sides add
        up the same numbers in another order and size in every layer.
      spec: of the function. With it, taps are compared too, and outputs that are
        updated variables with what the action makes of them.
      element: the `g` of the action; needed with `spec`.

    Returns:
      A `Certificate`; outputs that are not finite are never `ok`.

    Raises:
      ValueError: the outputs have different shapes, or there is none; or only one of
        `spec` and `element` is given.

    Example:
      >>> f = lambda v, x: v["a"] * v["b"] * x
      >>> v, w = {"a": 2.0, "b": 3.0}, {"a": 6.0, "b": 1.0}
      >>> x = jnp.ones(4)
      >>> certify(f, v, w, x).ok, certify(f, v, v | {"a": 1.0}, x).ok
      (True, False)
    """
    if (spec is None) != (element is None):
        raise ValueError(
            "certify: got a spec without an element or the reverse; give both, or none."
        )
    compiled = jax.jit(tracing.taps(fn) if spec else lambda *args: (fn(*args), {}))
    before, named = compiled(variables, *inputs)
    after, moved = compiled(transformed, *inputs)
    if spec is not None and element is not None:
        before = act_on_outputs(spec, element, before)
        named = {k: act_on_tap(spec, element, k, value) for k, value in named.items()}
    sides = [jax.tree.leaves(side) for side in (before, after)]
    shapes = [[np.shape(x) for x in side] for side in sides]
    if shapes[0] != shapes[1]:
        raise ValueError(f"certify: outputs of shapes {shapes[0]} became {shapes[1]}.")
    pairs = [(x, y) for x, y in zip(*sides, strict=True) if np.size(x)]
    if not pairs:
        raise ValueError("certify: the function has no output.")
    reason = "as given"
    if tolerance is None:
        tolerance, reason = _rounding([*sides[0], *jax.tree.leaves(variables)])
    absolute, relative = zip(*(_errors(x, y) for x, y in pairs), strict=True)
    worst = float(np.max(relative))  # nan if one of them is
    taps = {
        name: _errors(named[name], moved[name])[1]
        for name in (spec.taps if spec else ())
    }
    ok = bool(np.isfinite(absolute).all()) and worst <= tolerance
    ok = ok and all(error <= tolerance for error in taps.values())
    return Certificate(float(np.max(absolute)), worst, ok, tolerance, reason, taps)


def _errors(before: jax.Array, after: jax.Array) -> tuple[float, float]:
    """Returns the largest difference, and its ratio to the largest size."""
    exact = not _is_inexact(before)
    wide = object if exact else complex if jax.numpy.iscomplexobj(before) else float
    x, y = (np.asarray(side).astype(wide) for side in (before, after))
    error = float(np.max(np.abs(x - y), initial=0.0))
    size = float(np.max(np.abs(x), initial=0.0))
    if error == 0:
        return 0.0, 0.0
    return error, np.inf if exact or size == 0 else error / size


def _rounding(arrays: list[Any]) -> tuple[float, str]:
    """Returns what rounding may add up to, and the reason."""
    inexact = {jax.numpy.result_type(x) for x in arrays if _is_inexact(x)}
    spacing = {str(dtype): float(jax.numpy.finfo(dtype).eps) for dtype in inexact}
    if not spacing:
        return 0.0, "whole numbers are exact"
    coarsest = max(spacing, key=lambda name: spacing[name])
    reason = (
        f"1000 times the spacing of {coarsest} at 1, {spacing[coarsest]:.2g}, but at "
        "most 0.05, as every layer adds up the same numbers in another order and size"
    )
    return min(1000 * spacing[coarsest], 0.05), reason


def _is_inexact(x: Any) -> bool:
    return jax.numpy.issubdtype(jax.numpy.result_type(x), jax.numpy.inexact)
