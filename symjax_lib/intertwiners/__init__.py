"""Intertwiner groups of activations: which maps pass through, and as what."""

from symjax_lib.intertwiners.classification import (
    Classification as Classification,
    Evidence as Evidence,
)
from symjax_lib.intertwiners.classifier import classify as classify
from symjax_lib.intertwiners.facts import (
    Capacity as Capacity,
    MaxKernel as MaxKernel,
    capacity as capacity,
    fixes_rays as fixes_rays,
    max_kernel_counterexample as max_kernel_counterexample,
)
from symjax_lib.intertwiners.homogeneity import (
    defect as defect,
    relative_defect as relative_defect,
)
from symjax_lib.intertwiners.ranking import (
    ACTIVATIONS as ACTIVATIONS,
    Rank as Rank,
    ranking as ranking,
)
from symjax_lib.intertwiners.table import (
    TABLE as TABLE,
    Intertwiner as Intertwiner,
    leaky_relu as leaky_relu,
    phi as phi,
    polynomial as polynomial,
)
