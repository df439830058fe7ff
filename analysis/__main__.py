"""Measures a zoo: `python -m analysis EXPERIMENT --run RUN [--out DIR]`.

Or networks of others: `python -m analysis EXPERIMENT --networks a.npz b.npz --out DIR`.
"""

import dataclasses
import sys
import textwrap
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast

import jax
import tyro
from tqdm import tqdm

from analysis import (
    compared,
    experiments,
    networks,
    output,
    presets,
    report,
    subject,
)
from analysis.tables import to_text
from train import archive, manifest
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
            "stitching",
            "similarity",
            "specificity",
            "sensitivity",
            "figure2",
            "figure5",
            "figure9",
            "figure10",
            "figure11",
            "figure16",
            "table2",
            "table4",
        ]
    ]
    """`report` is the first five on one page; with `--networks` it is `similarity`,
    `specificity` and `sensitivity`, which compare by all measures. Figures and tables
    are the paper's: `similarity` of one architecture on all test images."""
    run: Path | None = None
    """Folder of a run of `python -m train`."""
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
    stitch_epochs: int = 20
    """Passes over the training images in which a stitch is fitted; 20 in the paper."""
    stitch_learning_rate: float | None = None
    """Of plain SGD; by default the paper's 1e-3, and 1e-2 for digits."""
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


def main(args: Arguments) -> None:
    """Measures and writes, or says that it is done, and prints the main numbers."""
    args = _with_defaults(args)
    out = _check(args)
    made_of = _made_of(args)
    reused = output.is_complete(out, made_of)
    if not reused:
        output.write(out, made_of, _measure(args, _load(args), made_of))
    page = out / ("index.html" if args.experiment == "report" else "table.txt")
    print((out / "table.txt").read_text(), end="")
    print(f"{page}{' is complete, reusing it' if reused else ''}")


def _with_defaults(args: Arguments) -> Arguments:
    preset = presets.PRESETS.get(args.experiment)
    images, pairs = (preset.images, preset.pairs) if preset else (1000, 32)
    if args.run is None and not preset:
        pairs = len(args.networks) ** 2
    return dataclasses.replace(
        args,
        images=images if args.images is None else args.images,
        pairs=pairs if args.pairs is None else args.pairs,
    )


def _check(args: Arguments) -> Path:
    """Returns the folder to write, or says what the arguments lack."""
    if (args.run is None) == (not args.networks):
        raise UserError("analysis: name either a --run or some --networks.")
    if unknown := {*args.measures} - {*compared.MEASURES}:
        raise UserError(
            f"analysis: --measures {sorted(unknown)} are unknown, there are "
            f"{list(compared.MEASURES)}; quote those with spaces."
        )
    if args.run is None:
        if args.experiment in experiments.OF_RUNS:
            raise UserError(
                f"analysis: {args.experiment} needs a --run; --networks can be "
                f"compared by {', '.join(experiments.COMPARED)}, or a report of these."
            )
        if args.out is None:
            raise UserError("analysis: with --networks, name a folder with --out.")
        return args.out
    if args.run.suffix == archive.SUFFIX and args.run.is_file():
        return args.out or Path("runs", args.run.stem, args.experiment)
    if not (args.run / "config.json").exists():
        raise UserError(
            f"analysis: {args.run} holds no run; make one by `python -m train "
            f"digits_quick --out {args.run}`."
        )
    return args.out or args.run / args.experiment


def _load(args: Arguments) -> networks.Compared:
    if args.run is None:
        return networks.load(
            args.networks,
            model=args.model,
            data_dir=args.data_dir,
            images=cast(int, args.images),
            pairs=args.pairs,
        )
    return subject.load(
        args.run,
        data_dir=args.data_dir,
        images=cast(int, args.images),
        pairs=cast(int, args.pairs),
        seed=args.seed,
    )


def _measure(
    args: Arguments, loaded: networks.Compared, made_of: dict[str, Any]
) -> Iterator[dict[str, str]]:
    """Yields the files to write, by name, as they are finished."""
    whole = args.experiment == "report"
    on_page = experiments.COMPARED if args.run is None else experiments.OF_RUNS
    names = list(on_page) if whole else [args.experiment]
    options = experiments.Options(
        stitch_epochs=args.stitch_epochs,
        stitch_learning_rate=args.stitch_learning_rate,
        measures=args.measures,
        interval=args.interval,
    )
    results, found = {}, None
    with tqdm(names, unit="experiment") as bar:
        if whole and "similarity" in names:
            found = compared.similarities(
                loaded, compared.MEASURES, bar.set_postfix_str
            )
        for name in bar:
            results[name] = experiments.run(
                name, loaded, options, bar.set_postfix_str, found
            )
            yield results[name].csv if whole else results[name].files()
    if whole:
        main = report.main(results)
        yield {
            "index.html": report.page(loaded, results, made_of),
            "table.txt": f"{to_text(main.rows)}\n{textwrap.fill(main.note, 88)}\n",
        }
    else:
        result = results[args.experiment]
        paragraphs = [result.title, *map(to_text, result.summary)]
        paragraphs.append(textwrap.fill(result.caption, 88))
        yield {"table.txt": "\n\n".join(paragraphs) + "\n"}


def _made_of(args: Arguments) -> dict[str, Any]:
    if args.run is None:
        run, of = f"{len(args.networks)} {args.model}", output.hash_of(args.networks)
    else:
        run = f"the run created {manifest.read(args.run)['created']}"
        of = output.hash_of_run(args.run)
    return {
        "experiment": args.experiment,
        "run": run,
        "networks": of,
        "most images": args.images,
        "most pairs": args.pairs,
        "stitch epochs": args.stitch_epochs,
        "stitch learning rate": args.stitch_learning_rate,
        "measures": list(args.measures),
        "interval": args.interval,
        "seed": args.seed,
        "symjax_lib": metadata.version("symjax_lib"),
        "code": output.hash_of_code(),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    try:
        main(parse())
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"analysis: {error}")
