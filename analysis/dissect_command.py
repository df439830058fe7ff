"""Dissects a network: `python -m analysis dissect --network FILE --data FOLDER`."""

import dataclasses
import os
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import tyro
from tqdm import tqdm

from analysis import (
    dissect_source,
    dissected,
    dissection,
    experiments,
    gallery,
    output,
    report,
    vision,
)
from analysis.experiments import Result
from analysis.subject import root_key, stream
from analysis.tables import to_text
from symjax_lib import dissection as library
from symjax_lib.dissection import Concepts
from train import devices
from train.configs import UserError

_GENERATED = "drawn"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Which network to dissect, on which images, and where to put the results."""

    network: str
    """File of weights in PyTorch's names, `.npz` or `.safetensors`; a run of `train`,
    its folder or the file of `train export`; or `random` for an untrained network."""
    data: str
    """Folder in the layout of Broden; or `drawn` for a small one with known concepts,
    which is drawn beside the results."""
    out: Path
    """Folder to write."""
    model: str = "resnet50"
    """What a file has weights of, or an untrained network is: resnet50,
    resnet50_no_residual_relu, convnext_tiny, efficientnet_lite0 or thin_resnet50."""
    number: int = 0
    """Of the seed, for a run."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets, for a run: by its data images are normalised."""
    layers: tuple[str, ...] = ()
    """Names of taps; by default the outputs of all stages, or of a run all maps."""
    rotations: int = 3
    """Random rotations of each layer."""
    alphas: str = "0:1:0.1"
    """Their powers: first, last and step, or numbers with commas."""
    split: str | None = None
    """Images of `train` or `val` only."""
    fraction: float = 0.005
    """Of its activations, which exceed the threshold of a unit."""
    passes: int = 3
    """Over the images to find thresholds, beside the one for extremes."""
    exact: bool = False
    """Go on until thresholds are exact; up to 8 passes more."""
    minimum: float = library.MINIMUM
    """Of intersection over union, which an interpretable unit exceeds."""
    batch_size: int = 8
    """Images of a forward pass."""
    seed: int = 0
    """Of the rotations, and of an untrained network."""


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Reads the command line."""
    return tyro.cli(Arguments, prog="python -m analysis dissect", args=argv)


def powers(text: str) -> tuple[float, ...]:
    """Returns the numbers of `--alphas`.

    Args:
      text: `first:last:step` or numbers with commas.

    Raises:
      UserError: it is neither.

    Example:
      >>> powers("0:1:0.5"), powers("0.1,1")
      ((0.0, 0.5, 1.0), (0.1, 1.0))
    """
    try:
        numbers = [float(part) for part in text.replace(":", ",").split(",")]
        if ":" in text:
            first, last, step = numbers
            count = int((last - first) / step + 1e-9)
            numbers = [round(first + i * step, 10) for i in range(count + 1)]
        if not numbers or not all(0 <= number <= 1 for number in numbers):
            raise ValueError
    except (ValueError, ArithmeticError) as error:
        raise UserError(
            f"analysis: --alphas is {text!r}; write first:last:step, as 0:1:0.1, or "
            "numbers with commas, all of them between 0 and 1."
        ) from error
    return tuple(numbers)


def main(args: Arguments) -> Path:
    """Dissects and writes, or sees that it is done; returns the page.

    Args:
      args: what to do.

    Raises:
      UserError: something is missing or is no option.
    """
    try:
        return _main(args, powers(args.alphas))
    except UserError:
        raise
    except ValueError as error:  # of images or weights
        raise UserError(f"analysis: {error}") from error


def _main(args: Arguments, alphas: tuple[float, ...]) -> Path:
    devices.keep_freed_memory()
    source = dissect_source.find(
        args.network,
        model=args.model,
        number=args.number,
        data_dir=args.data_dir,
        seed=args.seed,
    )
    data = _open(args)
    made_of = _made_of(args, source)
    if not output.is_complete(args.out, made_of):
        height, width = data.read(0).image.shape[:2]
        network = source.load((height, width))
        layers = args.layers or network.layers
        dissection.check(network.features, data, layers, args.rotations)
        parts = _measure(args, alphas, data, network, layers, made_of)
        output.write(args.out, made_of, parts)
    return args.out / "index.html"


def _open(args: Arguments) -> Concepts:
    folder = _folder(args)
    if args.data == _GENERATED and not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        library.draw(partial)
        os.replace(partial, folder)
    return library.read(folder, split=args.split)


def _folder(args: Arguments) -> Path:
    if args.data == _GENERATED:
        return args.out.with_name(f"{args.out.name}_{_GENERATED}")
    return Path(args.data)


def _measure(
    args: Arguments,
    alphas: tuple[float, ...],
    data: Concepts,
    network: vision.Network,
    layers: tuple[str, ...],
    made_of: dict[str, Any],
) -> Iterator[dict[str, str]]:
    """Yields the files to write, by name, as they are finished."""
    kept = args.out / f"kept_{output.hash_of_options(made_of)}" / "state.npz"
    with tqdm(total=1, unit="network") as bar:
        record = dissection.compute(
            network.features, data, layers, model=network.name,
            key=stream(root_key(args.seed), "rotations"),
            rotations=args.rotations, alphas=alphas,
            fraction=args.fraction, passes=args.passes, exact=args.exact,
            minimum=args.minimum,
            batch_size=args.batch_size, kept=kept, progress=bar.set_postfix_str,
        )  # fmt: skip
        result = experiments.result(dissected.TITLE, dissected, record)
        yield result.files()
        galleries = gallery.collect(
            network.features, data, record.tallies, record.detectors,
            batch_size=args.batch_size, progress=bar.set_postfix_str,
        )  # fmt: skip
        figures = {
            f"gallery_{layer}.svg": experiments.svg(
                gallery.draw(data, found, f"Best units of {layer}")
            )
            for layer, found in galleries.items()
        }
        yield figures
        bar.update()
    units = Result(
        title="The best units as they are",
        caption=(
            "Of each layer the units of highest intersection over union, with the "
            "images on which they are largest; lit where they exceed their threshold."
        ),
        summary=[],
        csv={},
        svg=figures,
    )
    note = textwrap.fill(result.caption, 88)
    yield {
        "table.txt": "\n\n".join([result.title, *map(to_text, result.summary), note])
        + "\n",
        "index.html": report.page(
            heading="Which concepts do single units detect, and rotated ones?",
            title=f"{record.model} on {Path(args.data).name}",
            lead=f"{record.model}, {data.length} images.",
            main=report.Main(result.summary[0], "Mean ± sd over rotations."),
            results={"dissection": result, "units": units},
            made_of=made_of,
        ),
    }


def _made_of(args: Arguments, source: dissect_source.Source) -> dict[str, Any]:
    options = dataclasses.asdict(args)
    for name in ("network", "model", "number", "data", "out", "data_dir"):
        del options[name]
    folder = _folder(args)
    tables = sorted(folder.glob("*.csv"))
    pictures = sorted((folder / "images").rglob("*.*"))
    return {
        "experiment": "dissect",
        "run": source.name,
        "networks": source.hash,
        "data": f"{args.data}, {output.hash_of([*tables, *pictures])}",
        **options,
        "layers": list(args.layers),
        "symjax_lib": metadata.version("symjax_lib"),
        "code": output.hash_of_code(),
        "jax": jax.__version__,
    }
