"""Symmetries of a function of variables: found, applied and certified."""

from symjax_lib.symmetry.action import (
    act as act,
    act_on_outputs as act_on_outputs,
    act_on_tap as act_on_tap,
    element_at as element_at,
)
from symjax_lib.symmetry.canonical import (
    canonicalize as canonicalize,
    distance as distance,
)
from symjax_lib.symmetry.certificate import (
    Certificate as Certificate,
    certify as certify,
)
from symjax_lib.symmetry.elements import (
    Channels as Channels,
    Element as Element,
    Wreath as Wreath,
    identity as identity,
    sample as sample,
)
from symjax_lib.symmetry.moments import (
    act_on_gradients as act_on_gradients,
    act_on_optimizer as act_on_optimizer,
)
from symjax_lib.symmetry.spec import (
    ArraySpec as ArraySpec,
    Factor as Factor,
    Pieces as Pieces,
    Product as Product,
    Space as Space,
    SymmetrySpec as SymmetrySpec,
    factors as factors,
)
from symjax_lib.symmetry.trace import trace as trace
