"""Several processes, as on a cluster: all run the same program on devices of their own.

The first one writes; all read.
"""

import jax
from jax.experimental import multihost_utils

from train.configs import UserError


def start() -> None:
    """Joins the processes of this job; call it before anything of JAX's.

    On SLURM, Open MPI, Kubernetes and TPU pods JAX finds them by itself.

    Raises:
      UserError: it does not.
    """
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"train: --distributed found no job to join: {error} Start it by `srun`, "
            "`mpirun` or on all hosts of a TPU pod; without --distributed one process "
            "trains alone."
        ) from error


def is_first() -> bool:
    """Tells whether this process is the one that writes."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Waits until all processes are here.

    Args:
      name: of the place, the same in all processes.
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
