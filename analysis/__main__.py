"""Measures a zoo: `python -m analysis EXPERIMENT --run RUN [--out DIR]`.

Or networks of others: `python -m analysis EXPERIMENT --networks a.npz b.npz --out DIR`.
Or the units of one: `python -m analysis dissect --network FILE --data FOLDER …`.
"""

import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import jax
from tqdm import tqdm

from analysis import (
    arguments,
    compared,
    dissect_command,
    experiments,
    networks,
    output,
    report,
    slopes,
    subject,
)
from analysis.arguments import Arguments, parse
from analysis.tables import to_text
from train import devices, manifest
from train.configs import UserError


def main(args: Arguments) -> None:
    """Measures and writes, or says that it is done, and prints the main numbers."""
    args = arguments.with_defaults(args)
    out = arguments.check(args)
    made_of = _made_of(args)
    reused = output.is_complete(out, made_of)
    if not reused:
        output.write(out, made_of, _measure(args, _load(args), made_of, out))
    page = out / ("index.html" if args.experiment == "report" else "table.txt")
    print((out / "table.txt").read_text(), end="")
    print(f"{page}{' is complete, reusing it' if reused else ''}")


def _load(args: Arguments) -> networks.Compared | slopes.Sweep:
    if args.run is None:
        return networks.load(
            args.networks,
            model=args.model,
            data_dir=args.data_dir,
            images=cast(int, args.images),
            train_images=args.stitch_images * 6 // 5,
            pairs=args.pairs,
            seed=args.seed,
        )
    load = slopes.load if args.experiment == "figure8" else subject.load
    return load(
        args.run,
        data_dir=args.data_dir,
        images=cast(int, args.images),
        pairs=cast(int, args.pairs),
        seed=args.seed,
    )


def _measure(
    args: Arguments,
    loaded: networks.Compared | slopes.Sweep,
    made_of: dict[str, Any],
    out: Path,
) -> Iterator[dict[str, str]]:
    """Yields the files to write, by name, as they are finished."""
    options = experiments.Options(
        classes=args.classes,
        images=args.stitch_images,
        protocol=args.protocol,
        kept=out / f"kept_{output.hash_of_options(made_of)}",
        stitch_epochs=args.stitch_epochs,
        measures=args.measures,
        interval=args.interval,
    )
    if args.experiment == "report":
        yield from _report(cast(networks.Compared, loaded), options, made_of)
        return
    with tqdm([args.experiment], unit="experiment") as bar:
        for name in bar:
            result = experiments.run(name, loaded, options, bar.set_postfix_str)
            yield result.files()
            paragraphs = [result.title, *map(to_text, result.summary)]
            paragraphs.append(textwrap.fill(result.caption, 88))
            yield {"table.txt": "\n\n".join(paragraphs) + "\n"}


def _report(
    loaded: networks.Compared, options: experiments.Options, made_of: dict[str, Any]
) -> Iterator[dict[str, str]]:
    """Yields the files of a report."""
    of_run = isinstance(loaded, subject.Subject)
    options = options._replace(classes=options.classes or report.CLASSES)
    names = list(experiments.REPORT if of_run else experiments.COMPARED)
    results, found = {}, None
    with tqdm(names, unit="experiment") as bar:
        if not of_run:
            found = compared.similarities(
                loaded, compared.MEASURES, bar.set_postfix_str
            )
        for name in bar:
            results[name] = experiments.run(
                name, loaded, options, bar.set_postfix_str, found
            )
            yield results[name].csv
    main = report.main(results)
    yield {
        "index.html": report.of_networks(loaded, results, made_of),
        "table.txt": f"{to_text(main.rows)}\n{textwrap.fill(main.note, 88)}\n",
    }


def _made_of(args: Arguments) -> dict[str, Any]:
    if args.run is None:
        run, of = f"{len(args.networks)} {args.model}", output.hash_of(args.networks)
    else:
        sweep = args.experiment == "figure8"
        runs = slopes.folders(args.run) if sweep else [args.run]
        run = f"the run created {manifest.read(runs[0])['created']}"
        of = " ".join(map(output.hash_of_run, runs))
    return {
        "experiment": args.experiment,
        "run": run,
        "networks": of,
        "most images": args.images,
        "most pairs": args.pairs,
        "stitch epochs": args.stitch_epochs,
        "stitch images": args.stitch_images,
        "classes": list(args.classes),
        "protocol": args.protocol,
        "measures": list(args.measures),
        "interval": args.interval,
        "seed": args.seed,
        "symjax_lib": metadata.version("symjax_lib"),
        "code": output.hash_of_code(),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["dissect"]:
            print(dissect_command.main(dissect_command.parse(sys.argv[2:])))
        else:
            wanted = parse()
            if wanted.experiment in experiments.ON_CORES:
                devices.use_cores()
            main(wanted)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"analysis: {error}")
