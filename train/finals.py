"""What is kept of a seed that is finished: the checkpoint `final`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from train import checkpoints
from train.configs import Config

NAME = "final"


def read(
    config: Config, model: nn.Module, image_shape: Sequence[int], path: Path
) -> dict[str, Any]:
    """Reads what is kept of a seed, and checks that it fits the config.

    Args:
      config: says how many epochs there are.
      model: that was trained.
      image_shape: `[H, W, C]`.
      path: of the checkpoint.

    Returns:
      `variables` after the best epoch; `history` with the splits `train` and
      `validation`, and `test`, see `group.train`.

    Raises:
      UserError: it is damaged, or of something else.
    """
    image = jnp.zeros((1, *image_shape))
    rows = np.empty((config.epochs, 3))
    like = {
        "variables": jax.eval_shape(model.init, jax.random.key(0), image),
        "history": {"train": rows, "validation": rows},
        "test": rows[0],
    }
    return checkpoints.restore(path, like)
