"""Network dissection: which concepts do single units detect, and in rotated bases?"""

from symjax_lib.dissection.broden import read as read
from symjax_lib.dissection.concepts import (
    Concepts as Concepts,
    Labelled as Labelled,
)
from symjax_lib.dissection.detectors import (
    MINIMUM as MINIMUM,
    Detectors as Detectors,
    detectors as detectors,
    iou as iou,
)
from symjax_lib.dissection.drawing import draw as draw
from symjax_lib.dissection.passes import Tally as Tally
from symjax_lib.dissection.rotations import (
    random_rotation as random_rotation,
    rotation_power as rotation_power,
)
from symjax_lib.dissection.units import State as State, dissect as dissect
