"""Similarities of two networks' features, each invariant under a stated group.

`MEASURES` has all by name, with the group of each. Take the group of the activation,
which `symmetry.trace` tells, or the closest larger one: for tanh, which has signs,
`signed_permutation_procrustes` or `g_relu_cka`.
"""

from symjax_lib.similarity.alignment import ProcrustesResult as ProcrustesResult
from symjax_lib.similarity.cka import (
    g_relu_cka as g_relu_cka,
    laplace_cka as laplace_cka,
    linear_cka as linear_cka,
    median_cka as median_cka,
    rbf_cka as rbf_cka,
)
from symjax_lib.similarity.features import (
    POLICIES as POLICIES,
    unit_channels as unit_channels,
)
from symjax_lib.similarity.independence import (
    cka_from_grams as cka_from_grams,
    hsic as hsic,
)
from symjax_lib.similarity.invariance import (
    MEASURES as MEASURES,
    Measure as Measure,
)
from symjax_lib.similarity.kernels import (
    laplace_gram as laplace_gram,
    linear_gram as linear_gram,
    median_gram as median_gram,
    rbf_gram as rbf_gram,
)
from symjax_lib.similarity.max_kernel import max_gram as max_gram
from symjax_lib.similarity.minibatch import MinibatchCKA as MinibatchCKA
from symjax_lib.similarity.pairwise import all_pairs as all_pairs
from symjax_lib.similarity.procrustes import (
    g_relu_procrustes as g_relu_procrustes,
    orthogonal_procrustes as orthogonal_procrustes,
    permutation_procrustes as permutation_procrustes,
    signed_permutation_procrustes as signed_permutation_procrustes,
)
