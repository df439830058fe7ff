"""Prints the table of ratios: `make bench`, or `python -m benchmarks`.

Each command of ours runs in alternation with a PyTorch baseline, in processes of their
own. The baselines are the scripts of a folder `shared/bench` beside the checkout, and
need an environment with torch, whose Python `--torch` names. Where one of the two is
missing it says so, and only our side runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BASELINES = ROOT.parent / "shared" / "bench"
# Memory that is freed is kept by both sides, or one pays for it again at every step.
KEPT = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**30)}


class Ratio(NamedTuple):
    """How many times faster ours is than a baseline.

    Attributes:
      what: is measured.
      ours: command after `python`.
      theirs: likewise, in the folder of baselines.
      target: the least ratio that we hold to.
      key: of the figure that both print; seconds, or a speed.
    """

    what: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    target: float
    key: str = "seconds"


_SIZE = ("--n", "2000", "--c", "64", "--h", "16", "--w", "16")
_OURS = ("-m", "benchmarks.max_gram", *_SIZE)
_STEPS = (("myrtle", 16), ("myrtle", 64), ("resnet20", 16))
RATIOS = (
    Ratio(
        "max-kernel Gram, row loop of the authors",
        _OURS,
        ("torch_max_cka.py", *_SIZE),
        25.0,
    ),
    Ratio(
        "max-kernel Gram, a product per channel, lower half",
        _OURS,
        ("torch_max_cka.py", *_SIZE, "--mode", "gemm", "--repeats", "5"),
        1.0,
    ),
    *(
        Ratio(
            f"training, {arch} of width {width}, seeds in turn: {seeds}",
            ("-m", "benchmarks.zoo_step", *options),
            ("torch_zoo_step.py", *options),
            1.0,
            "images_per_s",
        )
        for arch, width in _STEPS
        for seeds in ("1", "4")
        for options in [("--arch", arch, "--width", str(width), "--models", seeds)]
    ),
    *(
        Ratio(
            f"stitching, {stitch} after layer {layer} of Myrtle of width {width}, "
            f"front {front}",
            ("-m", "benchmarks.stitch_step", *options, "--front", front),
            ("torch_stitch_step.py", *options),
            1.0,
            "images_per_s",
        )
        for front in ("once", "each")
        for width in ("16", "64")
        for layer, stitch in (("0", "full"), ("1", "perm"), ("2", "full"))
        for options in [("--width", width, "--layer", layer, "--stitch", stitch)]
    ),
)


def main() -> None:
    """Runs all ratios and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--torch", type=Path, help="Python of an environment with torch"
    )
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--only", default="", help="ratios whose name has this text")
    args = parser.parse_args()
    chosen = [ratio for ratio in RATIOS if args.only in ratio.what]
    if not chosen:
        names = "; ".join(ratio.what for ratio in RATIOS)
        parser.error(f"--only {args.only!r} is in none of: {names}")
    missing = _missing(args.torch)
    if missing:
        print(f"No ratios: {missing} Our side alone:")
    for ratio in chosen:
        ours, theirs = [], []
        for _ in range(args.pairs):
            ours.append(_figure([sys.executable, *ratio.ours], ratio.key))
            if not missing:
                script, *options = ratio.theirs
                command = [str(args.torch), str(BASELINES / script), *options]
                theirs.append(_figure(command, ratio.key))
        print(_line(ratio, ours, theirs), flush=True)


def _missing(torch: Path | None) -> str:
    if not BASELINES.is_dir():
        return "the baselines in ../shared/bench are not there."
    if torch is None:
        return "name the Python of an environment with torch by --torch."
    if subprocess.run([str(torch), "-c", "import torch"], check=False).returncode:
        return f"{torch} cannot import torch."
    return ""


def _figure(command: list[str], key: str) -> float:
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | KEPT, text=True, stdout=-1, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])[key]


def _line(ratio: Ratio, ours: list[float], theirs: list[float]) -> str:
    if not theirs:
        return f"{ratio.what}: {statistics.median(ours):.3g} {ratio.key}"
    less = ratio.key == "seconds"
    pairs = zip(ours, theirs, strict=True)
    ratios = [b / a if less else a / b for a, b in pairs]
    return (
        f"{ratio.what}: {statistics.median(ratios):.2f} times as fast "
        f"({min(ratios):.2f} to {max(ratios):.2f}; target {ratio.target:g}), "
        f"{statistics.median(ours):.3g} against {statistics.median(theirs):.3g} "
        f"{ratio.key}"
    )


if __name__ == "__main__":
    main()
