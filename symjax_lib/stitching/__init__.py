"""Stitching: how well does one network go on from the features of another?"""

from symjax_lib.stitching.evaluate import accuracy as accuracy, penalty as penalty
from symjax_lib.stitching.maps import (
    Stitch as Stitch,
    full as full,
    g_relu as g_relu,
)
from symjax_lib.stitching.network import (
    Network as Network,
    from_linen as from_linen,
)
from symjax_lib.stitching.stitch import (
    Fitted as Fitted,
    fit as fit,
    refresh as refresh,
)
