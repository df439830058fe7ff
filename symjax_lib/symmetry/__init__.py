"""Symmetries of a function of variables: found, applied and certified."""

from symjax_lib.symmetry.action import (
    Channels as Channels,
    Element as Element,
    act as act,
    act_on_tap as act_on_tap,
    element_at as element_at,
    sample as sample,
)
from symjax_lib.symmetry.certificate import (
    Certificate as Certificate,
    certify as certify,
)
from symjax_lib.symmetry.spec import (
    ArraySpec as ArraySpec,
    Factor as Factor,
    Space as Space,
    SymmetrySpec as SymmetrySpec,
)
from symjax_lib.symmetry.trace import trace as trace
