"""The paper's figures and tables, as settings of `similarity` and of `penalties`."""

from typing import NamedTuple

from analysis.networks import Compared, model_of
from train.configs import UserError

_CKA = "g_relu_cka", "linear_cka, channel_norm"
_PROCRUSTES = "g_relu_procrustes", "orthogonal_procrustes"
_CLASSES = "full", "rank 1", "rank 2", "rank 4", "G_ReLU"


class Preset(NamedTuple):
    """What a figure or a table of the paper shows.

    Attributes:
      title: of the figure.
      model: name of the architecture.
      measures: in the order of its panels; what the paper calls orthogonal CKA divides
        every channel by its norm.
      pairs: of networks.
      images: all test images.
      classes: of stitches, where the figure shows penalties.
    """

    title: str
    model: str
    measures: tuple[str, ...]
    pairs: int
    images: int = 10_000
    classes: tuple[str, ...] = ()


def _stitched(
    title: str, model: str, pairs: int, classes: tuple[str, ...] = _CLASSES
) -> Preset:
    return Preset(title, model, (), pairs, classes=classes)


PRESETS = {
    "figure1": _stitched("Figure 1: stitching Myrtle CNN", "myrtle_cnn", 32),
    "figure6": _stitched("Figure 6: stitching ResNet20", "resnet20", 16),
    "figure7": _stitched("Figure 7: stitching ResNet18", "resnet18", 16),
    "figure12": _stitched("Figure 12: stitching CCT", "cct", 10),
    "figure13": _stitched(
        "Figure 13 and 14: alpha by cross-validation",
        "myrtle_cnn",
        32,
        ("G_ReLU", "G_ReLU, chosen alpha"),
    ),
    "figure15": _stitched(
        "Figure 15: LASSO and G_ReLU",
        "myrtle_cnn",
        32,
        ("full", "L1 0.001", "L1 0.01", "L1 0.1", "G_ReLU"),
    ),
    "figure2": Preset("Figure 2: CKA of ResNet20", "resnet20", _CKA, 16),
    "figure5": Preset("Figure 5: CKA of Myrtle CNN", "myrtle_cnn", _CKA, 16),
    "figure9": Preset(
        "Figure 9: Procrustes similarity of ResNet20", "resnet20", _PROCRUSTES, 32
    ),
    "figure10": Preset(
        "Figure 10: Procrustes similarity of ResNet18", "resnet18", _PROCRUSTES, 32
    ),
    "figure11": Preset("Figure 11: CKA of ResNet18", "resnet18", _CKA, 16),
    "figure16": Preset(
        "Figure 16: CKA at constant width", "myrtle_cnn_constant_width", _CKA, 16
    ),
    "table2": Preset(
        "Table 2: Procrustes similarity of Myrtle CNN", "myrtle_cnn", _PROCRUSTES, 32
    ),
    "table4": Preset(
        "Table 4: Procrustes similarity at constant width",
        "myrtle_cnn_constant_width",
        _PROCRUSTES,
        32,
    ),
}
"""By name; the numbers are those of the paper's long version."""


def check(name: str, subject: Compared) -> None:
    """Refuses networks of another architecture than the paper's.

    Args:
      name: one of `PRESETS`.
      subject: the networks.

    Raises:
      UserError: they are of another architecture.
    """
    there, wanted = model_of(subject), PRESETS[name].model
    if there != wanted:
        preset = PRESETS[name]
        experiment = "penalties" if preset.classes else "similarity"
        option = "--classes" if preset.classes else "--measures"
        values = " ".join(f"'{value}'" for value in preset.classes or preset.measures)
        raise UserError(
            f"analysis: {name} is of {wanted}, these networks are {there}; "
            f"`{experiment}` takes any, with {option} {values}."
        )
