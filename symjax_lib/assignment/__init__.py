"""Matchings of channels: exact ones, and their doubly stochastic relaxation."""

from symjax_lib.assignment.hungarian import hungarian as hungarian
from symjax_lib.assignment.sinkhorn import sinkhorn as sinkhorn
