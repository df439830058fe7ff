"""Network dissection image by image in float64 NumPy, with nothing clever."""

import numpy as np


def enlarge(map_, size):
    """Bilinear interpolation between the centres of pixels, constant outside."""
    sides = []
    for n, m in zip(map_.shape, size, strict=True):
        place = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
        left = np.minimum(place.astype(int), max(n - 2, 0))
        weights = np.zeros((m, n))
        weights[np.arange(m), left] += 1 - (place - left)
        weights[np.arange(m), np.minimum(left + 1, n - 1)] += place - left
        sides.append(weights)
    return sides[0] @ map_ @ sides[1].T


def threshold(values, fraction):
    """The number that at most a part of the values exceeds."""
    allowed = int(fraction * len(values))
    return np.sort(values)[len(values) - 1 - allowed]


def dissect(maps, data, basis, fraction, thresholds=None):
    """Thresholds `[C]`, both `[C, L]`, area `[C, G]` and labels `[L]`."""
    units = np.einsum("dc,nhwc->nhwd", basis.astype(float), maps.astype(float))
    count = units.shape[-1]
    if thresholds is None:
        thresholds = np.array(
            [threshold(units[..., u].ravel(), fraction) for u in range(count)]
        )
    both = np.zeros((count, len(data.names)), int)
    area = np.zeros((count, len(data.categories)), int)
    labels = np.zeros(len(data.names), int)
    for i in range(data.length):
        item = data.read(i)
        present = {data.category[c] for c in item.concepts}
        for concept, mask in zip(item.concepts, item.masks, strict=True):
            labels[concept] += mask.sum()
        for u in range(count):
            above = enlarge(units[i, ..., u], item.masks.shape[1:]) > thresholds[u]
            for concept, mask in zip(item.concepts, item.masks, strict=True):
                both[u, concept] += (above & mask).sum()
            for category in present:
                area[u, category] += above.sum()
    return thresholds, both, area, labels


def iou(both, area, labels, data):
    scores = np.zeros(both.shape)
    for u, c in np.ndindex(both.shape):
        union = area[u, data.category[c]] + labels[c] - both[u, c]
        scores[u, c] = both[u, c] / union if union else 0
    return scores
