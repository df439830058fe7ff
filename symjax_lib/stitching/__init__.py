"""Stitching: how well does one network go on from the features of another?"""

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
    accuracy as accuracy,
    fit as fit,
    penalty as penalty,
)
