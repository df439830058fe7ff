"""Weights from PyTorch: its names and layouts are turned into those of linen.

Our submodules have the names of PyTorch's, so the way between them is mechanical:
`conv1.weight` is `params/conv1/kernel`, `bn1.running_var` is `batch_stats/bn1/var`. A
submodule's name may have dots, since only the joined path counts: the module `conv1`
in `layer1.0` has the kernel `layer1.0.conv1.weight`. For published networks whose
authors have other names there is `renaming`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from symjax_lib.models import safetensors

# Where PyTorch has another word than linen for the last part of a name.
_WORDS = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def from_torch(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    image_shape: tuple[int, ...] = (32, 32, 3),
) -> Any:
    """Turns the state of a PyTorch network into the variables of a linen model.

    BatchNorm's `num_batches_tracked` is ignored. Values are cast to the model's dtype.

    Args:
      model: a linen module whose submodules have the names of PyTorch's.
      state: from PyTorch's names to arrays, such as `read` returns.
      image_shape: of one input, usually `(H, W, C)`.

    Returns:
      Variables as from `model.init`.

    Raises:
      ValueError: names are missing or unexpected, or shapes differ; all are listed.

    Example:
      >>> state = {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])}
      >>> variables = from_torch(nn.Dense(1), state, image_shape=(2,))
      >>> variables["params"]["kernel"].tolist()
      [[1.0], [2.0]]
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    template = jax.eval_shape(model.init, jax.random.key(0), image)
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    expected = {_torch_name(path): _as_torch(path, leaf) for path, leaf in leaves}
    _check(model, expected, state)
    values = [
        jnp.asarray(np.transpose(state[name], entry.axes), entry.dtype)
        for name, entry in expected.items()
    ]
    return jax.tree.unflatten(structure, values)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads named arrays from a file, without ever loading a pickle.

    Args:
      path: a file as written by `np.savez` or `np.savez_compressed`, or one whose name
        ends in `.safetensors`.

    Returns:
      The arrays by name, in the order of the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is of another kind, damaged, or holds Python objects.
    """
    if Path(path).suffix == ".safetensors":
        return safetensors.read(path)
    with Path(path).open("rb") as file:
        try:
            state = dict(np.load(file, allow_pickle=False))
        except Exception as error:  # damage shows as whatever the parsers stumble on
            raise _not_npz(path) from error
    if not all(isinstance(value, np.ndarray) for value in state.values()):
        raise _not_npz(path)  # any other zip file, such as PyTorch's own
    return state


def _not_npz(path: str | Path) -> ValueError:
    return ValueError(
        f"read: expected an undamaged .npz or .safetensors file of arrays, got "
        f"{str(path)!r}; write one from PyTorch by "
        "np.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})."
    )


class _Entry(NamedTuple):
    """What PyTorch has for an array of ours: its shape, and its axes in our order."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    dtype: Any


def _as_torch(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> _Entry:
    axes = tuple(range(len(leaf.shape)))
    if path[-1].key == "kernel":  # OIHW to HWIO, OI to IO
        axes = (*axes[2:], 1, 0)
    shape = tuple(leaf.shape[i] for i in np.argsort(axes))
    return _Entry(shape, axes, leaf.dtype)


def _torch_name(path: tuple[Any, ...]) -> str:
    _, *modules, leaf = (str(entry.key) for entry in path)
    return ".".join([*modules, _WORDS.get(leaf, leaf)])


def _check(
    model: nn.Module, expected: dict[str, _Entry], state: Mapping[str, Any]
) -> None:
    missing = [name for name in expected if name not in state]
    unexpected = [
        name
        for name in state
        if name not in expected and not name.endswith("num_batches_tracked")
    ]
    misfits = [
        f"{name!r} is {np.shape(state[name])} in the state, {entry.shape} in the model"
        for name, entry in expected.items()
        if name in state and np.shape(state[name]) != entry.shape
    ]
    problems = []
    if missing:
        problems.append(f"missing: {missing}")
    if unexpected:
        problems.append(f"unexpected: {unexpected}")
    if misfits:
        problems.append(f"other shapes: {', '.join(misfits)}")
    if problems:
        raise ValueError(
            f"from_torch: the state does not fit {type(model).__name__}; "
            f"{'; '.join(problems)}. Check the model's options and image_shape, and "
            "rename what is named differently; models.renaming has published cases."
        )
