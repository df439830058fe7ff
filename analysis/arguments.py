"""The command line of `python -m analysis`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from analysis import compared, experiments, presets, slopes, stitch_classes
from train import archive
from train.configs import UserError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure, on which run, and where to put it."""

    experiment: tyro.conf.Positional[
        Literal[
            "report",
            "accuracy",
            "certificate",
            "procrustes",
            "cka",
            "penalties",
            "similarity",
            "specificity",
            "sensitivity",
            "planted",
            "figure1",
            "figure2",
            "figure4",
            "figure5",
            "figure6",
            "figure7",
            "figure8",
            "figure9",
            "figure10",
            "figure11",
            "figure12",
            "figure13",
            "figure15",
            "figure16",
            "table2",
            "table4",
        ]
    ]
    """`report` is the first five on one page; with `--networks` it is `similarity`,
    `specificity` and `sensitivity`, which compare by all measures. Figures and tables
    are the paper's: `similarity` or `penalties` of one architecture on all test images.
    For `dissect`, which takes one network, see `python -m analysis dissect --help`."""
    run: Path | None = None
    """Folder of a run of `python -m train`; for `figure8` of a sweep."""
    out: Path | None = None
    """Folder to write; by default a folder of the run, named as the experiment."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets; by default $TFDS_DATA_DIR, then
    ~/tensorflow_datasets."""
    images: int | None = None
    """Test images that features are computed on, at most all; by default 1000, and all
    for the paper's figures and tables."""
    pairs: int | None = None
    """Pairs of networks that are compared, at most all; by default 32 as in the paper,
    for its figures as many as there, and all of `--networks`."""
    stitch_epochs: int | None = None
    """Passes over the training images in which a stitch is fitted; by default
    3 of 5,000 images, and of fewer images so many more."""
    stitch_images: int = 5000
    """Training images that stitches are fitted on, at most all."""
    classes: tuple[str, ...] = ()
    """Of stitches in `penalties`, in a report by default full and G_ReLU; with a wrong
    name the message lists them."""
    protocol: Literal["adam", "paper"] = "adam"
    """Of `penalties`: Adam, or the paper's plain SGD and best epoch by test accuracy
    beside the last one."""
    seed: int = 0
    """Of random group elements, untrained networks and the starts of stitches."""
    networks: tuple[Path, ...] = ()
    """Files of weights in PyTorch's names, in place of a run."""
    model: str = "tiny10"
    """What `--networks` are weights of: tiny10, myrtle_cnn, myrtle_cnn_constant_width,
    resnet18 or resnet20."""
    measures: tuple[str, ...] = ()
    """Of `similarity`, by default all; with a wrong name the message lists them."""
    interval: Literal["models", "inputs", "both", "sd"] = "models"
    """Of `similarity` and the paper's figures: 95 % for other networks, for other
    images, or for both; or the standard deviation over pairs, which is none."""


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Reads the command line."""
    return tyro.cli(Arguments, prog="python -m analysis", args=argv)


def with_defaults(args: Arguments) -> Arguments:
    """Fills in what depends on the experiment."""
    preset = presets.PRESETS.get(args.experiment)
    images, pairs = (preset.images, preset.pairs) if preset else (1000, 32)
    if args.run is None and not preset:
        pairs = len(args.networks) ** 2
    return dataclasses.replace(
        args,
        images=images if args.images is None else args.images,
        pairs=pairs if args.pairs is None else args.pairs,
    )


def check(args: Arguments) -> Path:
    """Returns the folder to write, or says what the arguments lack."""
    if (args.run is None) == (not args.networks):
        raise UserError("analysis: name either a --run or some --networks.")
    if unknown := {*args.measures} - {*compared.MEASURES}:
        raise UserError(
            f"analysis: --measures {sorted(unknown)} are unknown, there are "
            f"{list(compared.MEASURES)}; quote those with spaces."
        )
    stitch_classes.check(args.classes)
    if args.run is None:
        if args.experiment in experiments.NEED_RUNS:
            raise UserError(
                f"analysis: {args.experiment} needs a --run; --networks can be "
                f"compared by {', '.join(experiments.COMPARED)}, or a report of these."
            )
        if args.out is None:
            raise UserError("analysis: with --networks, name a folder with --out.")
        return args.out
    if args.run.suffix == archive.SUFFIX and args.run.is_file():
        return args.out or Path("runs", args.run.stem, args.experiment)
    if args.experiment == "figure8":
        slopes.folders(args.run)
    elif not (args.run / "config.json").exists():
        raise UserError(
            f"analysis: {args.run} holds no run; make one by `python -m train "
            f"digits_quick --out {args.run}`."
        )
    return args.out or args.run / args.experiment
