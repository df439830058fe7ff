"""What is analysed: the networks of a run, and the images they are measured on."""

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib import stitching, tracing
from train import data, ensemble, zoo
from train.configs import UserError


class Layer(NamedTuple):
    """A named value of the model.

    Attributes:
      name: of its tap.
      paper: of the same layer in the paper's tables; empty if it has none.
      channels: size of its last axis.
      inside: whether a skip connection leads around it, as inside a residual block.
    """

    name: str
    paper: str
    channels: int
    inside: bool = False

    @property
    def label(self) -> str:
        """Both names, as figures and tables show them; a star is for inside a block."""
        if self.paper:
            return f"{self.name} ({self.paper})"
        return f"{self.name}*" if self.inside else self.name


class Images(NamedTuple):
    """Normalised images `[N, H, W, C]` and their labels `[N]`."""

    images: jax.Array
    labels: jax.Array


class Subject(NamedTuple):
    """A run, ready to be measured.

    Attributes:
      zoo: the run.
      dataset: that it was trained on.
      seeds: of the networks; those that diverged are left out.
      networks: one for each of `seeds`.
      layers: the model's taps, in order.
      train: the images that the networks were trained on, without the held-out ones.
      test: all test images.
      measured: the first of the test images, on which features are computed.
      most_pairs: no more pairs of networks are compared.
      key: of every random choice; see `stream`.
    """

    zoo: zoo.Zoo
    dataset: data.Dataset
    seeds: tuple[int, ...]
    networks: tuple[stitching.Network, ...]
    layers: tuple[Layer, ...]
    train: Images
    test: Images
    measured: Images
    most_pairs: int
    key: jax.Array

    def stream(self, name: str) -> jax.Array:
        """Returns the key of one purpose; different names give independent keys."""
        return stream(self.key, name)


def root_key(seed: int) -> jax.Array:
    """Returns the key of all random choices of an analysis."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"analysis"))


def stream(key: jax.Array, name: str) -> jax.Array:
    """Returns the key of one purpose; different names give independent keys."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def load(
    run: str | Path,
    *,
    data_dir: str | Path | None = None,
    images: int = 1000,
    pairs: int = 32,
    seed: int = 0,
) -> Subject:
    """Loads a finished run and the data that it was trained on.

    Args:
      run: its folder.
      data_dir: see `train.data.load`.
      images: features are computed on so many test images, or on all if there are
        fewer.
      pairs: of networks that are compared, or all if there are fewer; 32 in the paper.
      seed: of random elements, untrained networks and the starts of stitches.

    Returns:
      A `Subject`.

    Raises:
      UserError: there is no finished run in the folder or it is damaged, its data are
        not found or others than it was trained on, every seed diverged, or fewer than
        4 images or than one pair are asked for.
    """
    if images < 4:
        raise UserError(f"analysis: --images is {images}, debiased CKA needs 4.")
    if pairs < 1:
        raise UserError(f"analysis: --pairs is {pairs}, it must be at least 1.")
    result = zoo.load(run)
    dataset = data.load(result.config.dataset, data_dir=data_dir)
    check_data(run, result, dataset)
    seeds = tuple(np.flatnonzero(np.isfinite(result.test_accuracy)).tolist())
    if not seeds:
        raise UserError(f"analysis: every seed of {run} diverged; nothing to measure.")
    rest, _ = data.split(dataset.train_labels, result.config.validation_fraction)
    take = lambda images, labels: Images(
        data.normalise(dataset, images), jnp.asarray(labels)
    )
    test = take(dataset.test_images, dataset.test_labels)
    networks = _unstack(result, result.variables, seeds)
    return Subject(
        zoo=result,
        dataset=dataset,
        seeds=seeds,
        networks=networks,
        layers=layers_of(networks[0], result.model, test.images[:1]),
        train=take(dataset.train_images[rest], dataset.train_labels[rest]),
        test=test,
        measured=Images(test.images[:images], test.labels[:images]),
        most_pairs=pairs,
        key=root_key(seed),
    )


def check_data(run: str | Path, result: zoo.Zoo, dataset: data.Dataset) -> None:
    """Raises a `UserError` if a run was trained on other data.

    Args:
      run: to name in the message.
      result: what was loaded of it.
      dataset: the data that are there.
    """
    trained_on = result.manifest["data_fingerprint"]
    if dataset.fingerprint != trained_on:
        raise UserError(
            f"analysis: {run} was trained on {dataset.name} with the fingerprint "
            f"{trained_on}, and these data have {dataset.fingerprint}; name the folder "
            "of the same data with --data-dir."
        )


def untrained(subject: Subject) -> tuple[stitching.Network, ...]:
    """Returns as many networks of the same architecture as there are, as initialised.

    Args:
      subject: the run; their keys are none of its own.

    Returns:
      Networks with the running statistics that BatchNorm starts from.
    """
    model, image = subject.zoo.model, subject.test.images[:1]
    keys = jax.random.split(subject.stream("untrained"), len(subject.seeds))
    init = ensemble.jit_once(jax.vmap(lambda key: model.init(key, image)))
    return _unstack(subject.zoo, init(keys), range(len(keys)))


def _unstack(result: zoo.Zoo, variables, indices) -> tuple[stitching.Network, ...]:
    host = jax.device_get(variables)
    one = lambda i: jax.device_put(jax.tree.map(lambda leaf: leaf[i, ...], host))
    return tuple(stitching.from_linen(result.model, one(i)) for i in indices)


def layers_of(
    network: stitching.Network, model: Any, image: jax.Array
) -> tuple[Layer, ...]:
    """Returns the layers of a network.

    Args:
      network: of the model.
      model: has `tap_names` and `paper_names`.
      image: `[1, ...]`.
    """
    args = network.variables, image
    taps = jax.eval_shape(tracing.taps(network.predict), *args)[1]
    inside = tracing.bypassed(network.predict)(*args)
    paper = model.paper_names
    return tuple(
        Layer(name, paper.get(name, ""), taps[name].shape[-1], inside[name])
        for name in model.tap_names
    )
