"""Intertwiner groups of activations: which maps pass through, and as what."""

from symjax_lib.intertwiners.classifier import (
    Classification as Classification,
    Evidence as Evidence,
    classify as classify,
)
from symjax_lib.intertwiners.table import (
    TABLE as TABLE,
    Intertwiner as Intertwiner,
    leaky_relu as leaky_relu,
    phi as phi,
    polynomial as polynomial,
)
