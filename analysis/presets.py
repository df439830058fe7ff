"""The paper's figures and tables of similarity, as settings of one experiment."""

from typing import NamedTuple

from analysis.networks import Compared, model_of
from train.configs import UserError

_CKA = "g_relu_cka", "linear_cka, channel_norm"
_PROCRUSTES = "g_relu_procrustes", "orthogonal_procrustes"


class Preset(NamedTuple):
    """What a figure or a table of the paper shows.

    Attributes:
      title: of the figure.
      model: name of the architecture.
      measures: in the order of its panels; what the paper calls orthogonal CKA divides
        every channel by its norm.
      pairs: of networks.
      images: all test images.
    """

    title: str
    model: str
    measures: tuple[str, ...]
    pairs: int
    images: int = 10_000


PRESETS = {
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
        raise UserError(
            f"analysis: {name} is of {wanted}, these networks are {there}; "
            "`similarity` takes any, with --measures "
            + " ".join(f"'{measure}'" for measure in PRESETS[name].measures)
            + "."
        )
