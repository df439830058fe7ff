"""Matchings of channels: exact ones, and their doubly stochastic relaxation."""

from symjax_lib.assignment.birkhoff import birkhoff_projection as birkhoff_projection
from symjax_lib.assignment.hungarian import hungarian as hungarian
from symjax_lib.assignment.sinkhorn import (
    log_sinkhorn as log_sinkhorn,
    sinkhorn as sinkhorn,
)
from symjax_lib.assignment.softsort import softsort as softsort
