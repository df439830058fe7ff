"""Stitching: how well does one network go on from the features of another?"""

from symjax_lib.stitching.choice import (
    of_activation as of_activation,
    of_element as of_element,
)
from symjax_lib.stitching.closed_form import (
    least_squares as least_squares,
    matching as matching,
)
from symjax_lib.stitching.evaluate import (
    Rounding as Rounding,
    accuracies as accuracies,
    accuracy as accuracy,
    penalty as penalty,
    refreshed as refreshed,
    rounding as rounding,
    rounding_distance as rounding_distance,
)
from symjax_lib.stitching.fitting import (
    Fitted as Fitted,
    fit as fit,
    fit_all as fit_all,
)
from symjax_lib.stitching.group_maps import (
    g_relu as g_relu,
    monomial as monomial,
    permutation as permutation,
    signed_permutation as signed_permutation,
)
from symjax_lib.stitching.maps import (
    Params as Params,
    Stitch as Stitch,
    affine as affine,
    as_matrix as as_matrix,
    full as full,
    lasso as lasso,
    low_rank as low_rank,
    orthogonal as orthogonal,
    sparsity as sparsity,
)
from symjax_lib.stitching.network import (
    Network as Network,
    from_linen as from_linen,
)
from symjax_lib.stitching.search import Search as Search
from symjax_lib.stitching.sorting import softsort as softsort
from symjax_lib.stitching.statistics import refresh as refresh
