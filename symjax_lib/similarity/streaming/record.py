"""The result of a comparison, with every setting that influenced it."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Similarities of layers of networks; printable, and the same when read from JSON.

    Attributes:
      layers: for each network the names of its layers, in order.
      pairs: `P` pairs of networks, by number.
      values: for each measure `P` arrays `[L, L']`, layers of the first network of the
        pair by those of the second; nan where a measure is not defined.
      dead_channels: for each network a number for each layer.
      settings: what else the values depend on, as JSON has it.
    """

    layers: tuple[tuple[str, ...], ...]
    pairs: tuple[tuple[int, int], ...]
    values: Mapping[str, tuple[np.ndarray, ...]]
    dead_channels: tuple[tuple[int, ...], ...]
    settings: Mapping[str, Any]

    def stacked(self, measure: str) -> np.ndarray:
        """Returns `[P, L, L']` of networks with equally many layers.

        Args:
          measure: one of `values`.
        """
        return np.stack(self.values[measure])

    def to_json(self) -> str:
        """Returns all of it as text; what is not defined is null there."""
        plain = dataclasses.asdict(self)
        plain["values"] = {
            name: [_without_nan(table.tolist()) for table in tables]
            for name, tables in self.values.items()
        }
        return json.dumps(plain, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """Reads what `to_json` wrote.

        Args:
          text: JSON.

        Raises:
          ValueError: it is no comparison.
        """
        try:
            plain = json.loads(text)
            return cls(
                layers=tuple(map(tuple, plain["layers"])),
                pairs=tuple((i, j) for i, j in plain["pairs"]),
                values={
                    name: tuple(np.array(table, float) for table in tables)
                    for name, tables in plain["values"].items()
                },
                dead_channels=tuple(map(tuple, plain["dead_channels"])),
                settings=plain["settings"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"from_json: the text is JSON but no comparison ({error!r}); give it "
                "what to_json returned."
            ) from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Comparison) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __str__(self) -> str:
        lines = [", ".join(f"{name}: {x}" for name, x in self.settings.items())]
        for measure, tables in self.values.items():
            for (i, j), table in zip(self.pairs, tables, strict=True):
                lines += ["", f"{measure}, network {i} by network {j}"]
                width = max(map(len, self.layers[i]))
                lines += [
                    f"{name:{width}}  " + " ".join(f"{value:7.4f}" for value in row)
                    for name, row in zip(self.layers[i], table, strict=True)
                ]
        return "\n".join(lines)


def _without_nan(x: Any) -> Any:
    if isinstance(x, list):
        return [_without_nan(item) for item in x]
    return None if math.isnan(x) else x
