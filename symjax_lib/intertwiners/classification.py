"""What `classify` returns: the group, its `phi`, and the evidence for both."""

from typing import NamedTuple

import jax

from symjax_lib import groups
from symjax_lib.intertwiners import table

# A law that holds leaves about 1e-14 in float64. One that fails does so by more than
# this at some point tried, however close the function comes elsewhere.
TOLERANCE = 1e-11


class Evidence(NamedTuple):
    r"""What one multiplier `a` does: is there a `b` with `sigma(a x) = b sigma(x)`?

    Attributes:
      multiplier: `a`.
      image: the only `b` there can be, `sigma(a u) / sigma(u)` at the point `u` tried
        that is nearest to 1 and no zero of sigma; for `a = -1` its sign, as `b b = 1`.
      residual: the relative difference of the two sides at the witness, infinite if one
        side is defined and the other is not, or if `b` is 0.
      witness: the `x` where that is largest or, if it exceeds 0.1, the nearest to 1
        where it does. It refutes `a` unless `a` passes.

    Example:
      >>> Evidence(2.0, 2.0, residual=1e-16, witness=0.3).passes
      True
    """

    multiplier: float
    image: float
    residual: float
    witness: float

    @property
    def passes(self) -> bool:
        """Whether the residual is rounding."""
        return self.residual < TOLERANCE


class Classification(NamedTuple):
    """The intertwiner group of one activation; prints as a table.

    Attributes:
      kind: one of `groups.KINDS`.
      exponent: `p` with `phi(a) = a ** p` for positive `a`, or None if those do not
        pass.
      parity: "odd" or "even" if -1 passes, with `phi(-1)` -1 or 1; None if it does not.
      evidence: one `Evidence` for each multiplier tried.
      remarks: sentences on where the group is larger than `kind` says, or where the
        paper's statements do not apply.
    """

    kind: str
    exponent: float | None
    parity: str | None
    evidence: tuple[Evidence, ...]
    remarks: tuple[str, ...] = ()

    def phi(self, g: groups.Element) -> groups.Element:
        """Returns the map that `g` becomes after sigma; see `Intertwiner.phi`."""
        table.check_element(self.kind, g)
        if self.kind == "general_linear" or not isinstance(g, groups.Monomial):
            return g
        size = jax.numpy.abs(g.scale) ** (self.exponent or 0.0)
        sign = jax.numpy.sign(g.scale) if self.parity == "odd" else 1.0
        return groups.Monomial(g.permutation, sign * size)

    def __str__(self) -> str:
        rows = [f"{self.kind}: {_formula(self)}", f"{'a':>8}{'b':>12}  residual"]
        rows += map(_row, self.evidence)
        return "\n".join([*rows, *(f"- {remark}" for remark in self.remarks)])


def _formula(found: Classification) -> str:
    if found.kind == "general_linear":
        return "phi(A) = A"
    if found.kind == "permutation":
        return "phi(P) = P"
    if found.kind == "signed_permutation":
        return "phi(P D) = P D" if found.parity == "odd" else "phi(P D) = P"
    power = found.exponent or 0.0
    base = "D" if found.kind == "positive_monomial" else "|D|"
    size = "" if power == 0 else f" {base}" if power == 1 else f" {base}^{power:.4g}"
    if found.parity == "odd":
        size = " D" if power == 1 else f" sign(D){size}"
    return f"phi(P D) = P{size}"


def _row(found: Evidence) -> str:
    start = f"{found.multiplier:>8.4g}"
    if found.passes:
        return f"{start}{found.image:>12.6g}  {found.residual:.0e}"
    return f"{start}{'-':>12}  {found.residual:.0e}, refuted at x = {found.witness:.4g}"
