"""PyTorch's outputs for large networks with weights that NumPy draws.

`python tests/torch_outputs.py`, where torch, torchvision and the package
`efficientnet_lite_pytorch` can be imported, writes `torch_outputs.npz`. The tests read
it and need none of them.
"""

import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
SIDE = 64


def images():
    """`[N, H, W, C]`, of a colour each, or the mean at the end would tell little."""
    rng = np.random.default_rng(0)
    colours = 5 * rng.normal(size=(2, 1, 1, 3))
    return np.float32(colours + 5 * rng.normal(size=(2, SIDE, SIDE, 3)))


def drawn(shapes):
    """Returns weights by name, none of them 0 or 1, each from its name alone."""

    def draw(name, shape):
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if len(shape) in (2, 4):
            return rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        if name.endswith("bias") or name.endswith("mean"):
            return 0.1 * rng.normal(size=shape)
        return rng.uniform(0.5, 1.5, shape)

    return {
        name: draw(name, shape).astype(np.float32) for name, shape in shapes.items()
    }


def read(name):
    """Returns the weights of a network and its logits."""
    with np.load(FILE) as stored:
        shapes = {}
        for line in stored[f"{name}.shapes"]:
            key, _, sizes = str(line).partition(" ")
            shapes[key] = tuple(int(size) for size in sizes.split())
        return drawn(shapes), stored[f"{name}.logits"]


def _networks():
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision.models import convnext_tiny, resnet

    class Linear(resnet.Bottleneck):
        """A bottleneck without an activation at its output."""

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            y = self.bn3(self.conv3(y))
            return y + (x if self.downsample is None else self.downsample(x))

    return {
        "resnet50": resnet.resnet50(),
        "resnet50_no_residual_relu": resnet.ResNet(Linear, [3, 4, 6, 3]),
        "convnext_tiny": convnext_tiny(),
        "efficientnet_lite0": EfficientNet.from_name(
            "efficientnet-lite0", image_size=SIDE
        ),
    }


def _main():
    import torch

    found = {}
    for name, network in _networks().items():
        state = network.state_dict()
        shapes = {
            key: tuple(value.shape)
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }
        given = {key: torch.tensor(value) for key, value in drawn(shapes).items()}
        network.load_state_dict(state | given)
        with torch.no_grad():
            logits = network.eval()(torch.tensor(images().transpose(0, 3, 1, 2)))
        # Or the test of equal outputs would tell little.
        assert (logits[0] - logits[1]).abs().max() > 0.02 * logits.abs().max()
        lines = [" ".join([key, *map(str, shape)]) for key, shape in shapes.items()]
        found |= {f"{name}.shapes": np.array(lines), f"{name}.logits": logits.numpy()}
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    _main()
