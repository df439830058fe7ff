"""A random symmetry of each network, certified; and what is none, refuted."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from analysis import style
from analysis.subject import Subject
from analysis.tables import Rows
from symjax_lib import groups, stitching, symmetry, tracing

TITLE = "Symmetries, certified"


class Record(NamedTuple):
    """What a random element of the group does to each network.

    Attributes:
      seeds: `[S]`.
      spec: of the architecture, which all networks share.
      moved: `[S]`, relative change of the variables.
      certificates: `[S]`, of the outputs before and after.
      law: `[S]`, largest error at a tap of f_l(x, W') = phi(A_l) f_l(x, W), relative to
        the largest value there.
      refuted: `[S]`, the certificate with a random orthogonal matrix in place of the
        element of one layer; it must fail.
    """

    seeds: np.ndarray
    spec: symmetry.SymmetrySpec
    moved: np.ndarray
    certificates: list[symmetry.Certificate]
    law: np.ndarray
    refuted: list[symmetry.Certificate]


def compute(subject: Subject) -> Record:
    """Finds the group of the architecture and tries a random element on each network.

    Args:
      subject: the run; the test images serve as inputs.
    """
    first, images = subject.networks[0], subject.measured.images
    spec = symmetry.trace(first.predict, first.variables, images[:1])
    keys = jax.random.split(subject.stream("certificate"), (len(subject.networks), 2))
    moved, certificates, law, refuted = [], [], [], []
    for network, (act_key, refute_key) in zip(subject.networks, keys, strict=True):
        g = symmetry.sample(act_key, spec)
        transformed = symmetry.act(spec, g, network.variables)
        certify = functools.partial(
            symmetry.certify, network.predict, network.variables
        )
        moved.append(_distance(network.variables, transformed))
        certificates.append(certify(transformed, images))
        law.append(_law_error(spec, g, network, transformed, images))
        refuted.append(certify(_rotate(refute_key, spec, network.variables), images))
    return Record(
        np.array(subject.seeds),
        spec,
        np.array(moved),
        certificates,
        np.array(law),
        refuted,
    )


def _distance(old, new) -> float:
    old, new = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(v)])
                for v in (old, new))  # fmt: skip
    return float(jnp.linalg.norm(new - old) / jnp.linalg.norm(old))


def _law_error(
    spec: symmetry.SymmetrySpec,
    g: symmetry.Element,
    network: stitching.Network,
    transformed,
    images: jax.Array,
) -> float:
    """Returns how far the taps are from what the action says they become."""
    run = jax.jit(tracing.taps(network.predict))
    _, before = run(network.variables, images)
    _, after = run(transformed, images)
    errors = []
    for name, value in after.items():
        expected = symmetry.act_on_tap(spec, g, name, before[name])
        errors.append(jnp.abs(value - expected).max() / jnp.abs(expected).max())
    return float(max(errors))


def _rotate(key: jax.Array, spec: symmetry.SymmetrySpec, variables):
    """Rotates the first space of channels, where rotations are no symmetry."""
    choose_key, rotate_key = jax.random.split(key)
    g = symmetry.sample(choose_key, spec)
    name, space = next(
        (name, space)
        for name, space in spec.spaces.items()
        if space.kind != "general_linear"
    )
    rotation = groups.sample(rotate_key, "orthogonal", space.size)
    return symmetry.act(spec, {**g, name: rotation}, variables)


def tables(record: Record) -> dict[str, Rows]:
    """Returns one row for each network, and one for each space.

    Args:
      record: from `compute`.
    """
    networks = [
        {
            "seed": seed,
            "certified": certificate.ok,
            "change of weights": moved,
            "change of outputs": certificate.max_rel_error,
            "tolerance": certificate.tolerance,
            "error at taps": law,
            "rotation refuted": not refuted.ok,
            "change by rotation": refuted.max_rel_error,
        }
        for seed, certificate, moved, law, refuted in zip(
            record.seeds,
            record.certificates,
            record.moved,
            record.law,
            record.refuted,
            strict=True,
        )
    ]
    spaces = [
        {
            "space": space.name,
            "channels": space.size,
            "group at the tap": space.kind,
            "scalings": space.scalings,
            "signs": space.signs,
            "touches": len(space.touches),
        }
        for space in record.spec.spaces.values()
    ]
    return {"certificate": networks, "spaces": spaces}


def summary(record: Record) -> list[Rows]:
    """Returns the tables of the page: the spaces, and what happened to each network.

    Args:
      record: from `compute`.
    """
    both = tables(record)
    return [both["spaces"], both["certificate"]]


def plot(record: Record) -> dict[str, Figure]:
    """Draws the change of the outputs by symmetries and by a rotation.

    Args:
      record: from `compute`.
    """
    figure, axes = style.figure(height=1.9)
    rows = {
        "element of the group: at the layers": record.law,
        "element of the group: outputs": [c.max_rel_error for c in record.certificates],
        "rotation of one layer: outputs": [c.max_rel_error for c in record.refuted],
    }
    for y, values in enumerate(rows.values()):
        # An exact match has no logarithm.
        x = np.maximum(np.asarray(values, float), 1e-9)
        axes.plot(x, np.full(len(x), y), "o", color=style.COLORS[y], markersize=4)
    axes.axvline(record.certificates[0].tolerance, color="black", linestyle=":")
    axes.set(xscale="log", xlabel="relative change (dotted: tolerance)")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(-0.5, len(rows) - 0.5)
    return {"certificate": figure}


def caption(record: Record) -> str:
    """Says what the symmetry group is and what was certified.

    Args:
      record: from `compute`.
    """
    spec, ok = record.spec, sum(c.ok for c in record.certificates)
    lawful = sum(
        error <= c.tolerance
        for error, c in zip(record.law, record.certificates, strict=True)
    )
    refuted = sum(not c.ok for c in record.refuted)
    digits = spec.log_permutations / np.log(10)
    return (
        f"Read off the function: {len(spec.spaces)} spaces of channels, with "
        f"{spec.dimension} independent scalings and about 10^{digits:.0f} permutations "
        f"and signs. A random element of that group leaves the outputs of {ok} of "
        f"{len(record.certificates)} networks as they are, up to rounding, and changes "
        f"every layer of {lawful} as predicted. With a rotation in one layer instead, "
        f"the function changes, as it must, for {refuted} of {len(record.refuted)}."
    )
