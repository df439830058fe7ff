r"""Fits stitches between two networks.

The stitched network is :math:`S = \tilde f_{>l} \circ \varphi \circ f_{\leq l}`, and
its penalty :math:`(\mathrm{Acc} f + \mathrm{Acc} \tilde f) / 2 - \mathrm{Acc} S`. Only
:math:`\varphi` is trained, on training data; the back network's batch statistics are
then refreshed on training data, and test data serve for the final number alone.

As in the paper but for three points: the images are not augmented unless asked for, the
front runs in evaluation mode (both so that its features are computed once), and the
weights of a full stitch do not decay unless asked for.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import optax

from symjax_lib.stitching import batches, halves, places, search, step
from symjax_lib.stitching.maps import Params, Stitch
from symjax_lib.stitching.network import Network
from symjax_lib.stitching.search import PAPER, Search
from symjax_lib.stitching.statistics import refresh_many

Name = TypeVar("Name")


class Fitted(NamedTuple):
    """A fitted stitch between two networks.

    Attributes:
      params: of the stitch, after `finalize`.
      variables: of the back network, with batch statistics refreshed for `params`.
      losses: `[epochs]`, mean training loss (cross-entropy and penalty) of each; not
        finite from where the fit diverged.
      relaxed: the parameters before `finalize`; how much worse `params` are is the
        rounding gap. See `rounding`.
      path: what `relaxed` was after each epoch, stacked `[epochs, ...]`.
    """

    params: Params
    variables: Any
    losses: np.ndarray
    relaxed: Params
    path: Params | None = None


def fit(
    key: jax.Array,
    stitch: Stitch,
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    labels: jax.Array,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    optimizer: optax.GradientTransformation | None = None,
    head_start: int | None = None,
    start: Params | None = None,
    augment: batches.Augment | None = None,
    training: bool = True,
) -> Fitted:
    """Fits a stitch by stochastic gradient on training data.

    Args:
      key: consumed, for the start and the order of the batches.
      stitch: the class of maps, of the width of the layer.
      front: the network whose features are used, in evaluation mode.
      back: the network that goes on from them, in training mode.
      layer: name of a tap that both have, or a pair of them, the front's first. Where
        their maps differ in size, the front's are resized, linearly.
      images: `[N, ...]` training images, as the networks take them.
      labels: `[N]` integers, below the number of logits.
      epochs: passes over the images; 0 leaves the start as it is.
      batch_size: a last batch that is not full is left out.
      optimizer: see `Search`.
      head_start: likewise.
      start: likewise.
      augment: `(key, images) -> images`, for each batch anew; the front then runs on
        every batch.
      training: whether the back runs in training mode, as in the paper; or else in
        evaluation mode, with its own statistics, which stay.

    Returns:
      The `Fitted` stitch, with the back's batch statistics refreshed by a pass over the
      training images through the final stitch; see `refresh`.

    Raises:
      ValueError: there are fewer images than one batch, images and labels differ in
        number, there is no such tap, the networks do not fit at the cut, the stitch has
        another width than the layer, or the loss becomes infinite or nan.

    Example:
      >>> from symjax_lib import models, stitching
      >>> model = models.MLP(features=(4,))
      >>> images, labels = jnp.eye(8), jnp.arange(8)
      >>> front, back = (
      ...     stitching.from_linen(model, model.init(jax.random.key(seed), images))
      ...     for seed in (0, 1)
      ... )
      >>> stitch, key = stitching.full(4), jax.random.key(2)
      >>> fitted = fit(
      ...     key, stitch, front, back, "dense1", images, labels, epochs=2, batch_size=8
      ... )
      >>> fitted.losses.shape, fitted.params["matrix"].shape
      ((2,), (4, 4))

    References:
      Godfrey et al. 2022, sections 4 and D.2.
    """
    search = Search(stitch, optimizer or PAPER, head_start, start)
    fitted = fit_all(
        key, {"": search}, front, back, layer, images, labels,
        epochs=epochs, batch_size=batch_size, augment=augment, training=training,
    )[""]  # fmt: skip
    if not np.isfinite(fitted.losses).all():
        raise ValueError(
            f"stitching.fit: the loss at layer {layer!r} is not finite after epoch "
            f"{np.argmin(np.isfinite(fitted.losses)) + 1}; pass an optimizer with a "
            "smaller learning rate, and check images and labels."
        )
    return fitted


def fit_all(
    key: jax.Array,
    searches: Mapping[Name, Search],
    front: Network,
    back: Network,
    layer: str | halves.Cut,
    images: jax.Array,
    labels: jax.Array,
    *,
    epochs: int = 20,
    batch_size: int = 32,
    augment: batches.Augment | None = None,
    training: bool = True,
) -> dict[Name, Fitted]:
    """Fits many stitches at one cut, each as `fit` does; the front runs once for all.

    They are shared out to the local devices, unless a default device is set: an
    accelerator has its part at once, a device of a CPU one stitch after the other. To
    make every core a device, call `jax.config.update("jax_num_cpu_devices", n)` first.

    Args:
      key: consumed; all searches have the same batches.
      searches: classes of stitches, or one with different settings, by name.
      front: see `fit`, as for all other arguments.
      back: likewise.
      layer: likewise.
      images: likewise.
      labels: likewise.
      epochs: likewise.
      batch_size: likewise.
      augment: likewise.
      training: likewise.

    Returns:
      For each name its `Fitted`. A search that diverges has losses that are not finite;
      the others do not notice.

    Raises:
      ValueError: as `fit`, but for the loss.
    """
    halves.check_data("stitching.fit", images, labels, batch_size)
    if not searches:
        return {}
    if epochs < 0:
        raise ValueError(f"stitching.fit: epochs must not be negative, got {epochs}.")
    cut = halves.cut_of(layer)
    start, order = jax.random.split(key)
    starts = {
        name: wanted.stitch.init(start) if wanted.start is None else wanted.start
        for name, wanted in searches.items()
    }
    _check_widths(searches, starts, cut, front, back, images[:1])

    def run(
        place: places.Place, order: jax.Array, starts: Any, front: Network,
        back: Network, images: jax.Array, labels: jax.Array,
    ) -> dict[Name, search.Found]:  # fmt: skip
        read = batches.make_reader(front, back, cut, images, labels, augment, place)
        behind = step.Back(back.update if training else back.predict, cut[1], training)
        found = {}
        for names in place.parts:
            found |= search.run(
                order, {name: searches[name] for name in names}, starts, behind,
                back.variables, read, len(images), epochs=epochs, batch_size=batch_size,
            )  # fmt: skip
        return found

    found = places.everywhere(
        run, tuple(searches), order, starts, front, back, images, labels
    )
    finals = {
        name: (searches[name].stitch, searches[name].stitch.finalize(each.params))
        for name, each in found.items()
    }
    variables = dict.fromkeys(searches, back.variables)
    if training:
        variables = refresh_many(
            jax.random.fold_in(order, epochs), finals, front, back, cut, images,
            batch_size=batch_size, augment=augment,
        )  # fmt: skip
    return {
        name: Fitted(
            params=finals[name][1],
            variables=variables[name],
            losses=each.losses,
            relaxed=each.params,
            path=each.path,
        )
        for name, each in found.items()
    }


def _check_widths(
    searches: Mapping[Name, Search],
    starts: Mapping[Name, Params],
    cut: halves.Cut,
    front: Network,
    back: Network,
    images: jax.Array,
) -> None:
    value = jax.eval_shape(halves.make_front(front, back, cut), images)[0]
    there = halves.value_at(back, cut[1], images)
    for name, wanted in searches.items():
        try:
            found = jax.eval_shape(wanted.stitch.apply, starts[name], value).shape
        except (TypeError, ValueError):
            found = None
        if found != there.shape:
            names = repr(cut[0]) if cut[0] == cut[1] else f"{cut[0]!r} to {cut[1]!r}"
            raise ValueError(
                f"stitching.fit: layer {names} has {value.shape[-1]} channels in front "
                f"and {there.shape[-1]} behind, and the stitch was made for other "
                "numbers; make it for those, with `out` where they differ."
            )
