"""Inputs and outputs of other implementations, from the shared folder."""

import numpy as np
from paths import shared


def load(name):
    """Returns `{case: {field: array}}` of one file; skips where it is absent."""
    stored = np.load(shared(f"reference/oracles/{name}.npz"), allow_pickle=False)
    cases = {}
    for key in stored.files:
        case, _, field = key.rpartition("__")
        cases.setdefault(case, {})[field] = stored[key]
    return cases
