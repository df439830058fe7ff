"""How stitches are fitted, and on which images they are fitted, chosen and measured."""

from typing import NamedTuple

from analysis import stitch_classes
from analysis.networks import Compared
from analysis.subject import Images
from train.configs import UserError

IMAGES = 5000
"""To fit on, by default."""
_SEEN = 15_000  # by default, with repetitions


class Protocol(NamedTuple):
    """How stitches are fitted and measured.

    Attributes:
      classes: names of `stitch_classes.CLASSES`.
      epochs: passes over the training images.
      optimizer: "adam", or "paper" for plain SGD with learning rate 1e-3.
      path: also measure the stitch of every epoch on the test images, to see how much
        the best of them, which the paper reports, flatters.
    """

    classes: tuple[str, ...]
    epochs: int
    optimizer: str = "adam"
    path: bool = False


class Data(NamedTuple):
    """Images that stitches are fitted on, chosen by, and measured on; none in two."""

    train: Images
    validation: Images
    test: Images


def split(subject: Compared, images: int) -> Data:
    """Divides the training images: some to fit on, a fifth as many to choose by.

    Args:
      subject: has the images.
      images: the most to fit on.

    Raises:
      UserError: they do not fill a batch.
    """
    x, y = subject.train
    count = min(images, len(y) * 5 // 6)
    if count < 32:
        raise UserError(
            f"analysis: {count} training images do not fill a batch of 32; ask for "
            "more --stitch-images."
        )
    held_out = slice(count, count + max(count // 5, 1))
    return Data(
        train=Images(x[:count], y[:count]),
        validation=Images(x[held_out], y[held_out]),
        test=subject.test,
    )


def named(
    data: Data, classes: tuple[str, ...], epochs: int | None, name: str
) -> Protocol:
    """Returns how stitches are fitted.

    Args:
      data: images.
      classes: of stitches.
      epochs: or None for the default.
      name: of the protocol.

    Raises:
      UserError: there is no class of a name, or no epoch.
    """
    if epochs is None:
        epochs = max(1, round(_SEEN / len(data.train.labels)))
    stitch_classes.check(classes, epochs)
    return Protocol(classes, epochs, name, path=name == "paper")
