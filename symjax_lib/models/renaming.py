"""Names of published PyTorch networks, where they are not those of our models.

Each function takes a state, a mapping from names to arrays, and returns one that
`convert.from_torch` accepts for the model it says.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from symjax_lib.models import cct

_Replacement = str | Callable[[re.Match[str]], str]


def cifar_resnet(state: Mapping[str, Any]) -> dict[str, Any]:
    """Renames akamaster's ResNet20 to ResNet56, and kuangliu's ResNet18.

    They say `linear` and `shortcut` where torchvision and so `models.CifarResNet` say
    `fc` and `downsample`. The prefix `module`, which parallel training leaves, goes.

    Args:
      state: from names to arrays.

    Returns:
      For `models.ResNet18` and `models.ResNet20` to `models.ResNet56`.

    Raises:
      ValueError: two names become one.

    Example:
      >>> list(cifar_resnet({"module.linear.bias": 0, "layer2.0.shortcut.1.bias": 0}))
      ['fc.bias', 'layer2.0.downsample.1.bias']

    References:
      `pytorch_resnet_cifar10 <https://github.com/akamaster/pytorch_resnet_cifar10>`_,
      `pytorch-cifar <https://github.com/kuangliu/pytorch-cifar>`_.
    """
    rules: dict[str, _Replacement] = {
        r"^module\.": "",
        r"^linear\.": "fc.",
        r"\.shortcut\.": ".downsample.",
    }
    return _renamed(state, rules)


def caffe_resnet(state: Mapping[str, Any]) -> dict[str, Any]:
    """Renames a bottleneck ResNet with the names of Caffe's, BatchNorm folded.

    Such as `stage0.block0.branch2a` of open_nsfw, which is `layer1.0.conv1`.

    Args:
      state: from names to arrays.

    Returns:
      For `models.ResNet50` with `norm=False`.

    Raises:
      ValueError: two names become one.

    Example:
      >>> list(caffe_resnet({"stem.bias": 0, "stage0.block2.branch2c.bias": 0}))
      ['conv1.bias', 'layer1.2.conv3.bias']

    References:
      `open_nsfw <https://github.com/yahoo/open_nsfw>`_.
    """
    rules: dict[str, _Replacement] = {
        r"^stem\.": "conv1.",
        r"^stage(\d+)\.block": lambda match: f"layer{int(match[1]) + 1}.",
        r"\.shortcut\.": ".downsample.0.",
        r"\.branch2([abc])\.": lambda match: f".conv{'abc'.index(match[1]) + 1}.",
    }
    return _renamed(state, rules)


def timm_convnext(state: Mapping[str, Any]) -> dict[str, Any]:
    """Renames timm's ConvNeXt, whose weights the paper uses.

    Args:
      state: from names to arrays.

    Returns:
      For `models.ConvNeXt`, which has the names of the authors' code.

    Raises:
      ValueError: two names become one.

    Example:
      >>> list(timm_convnext({"stages.1.blocks.0.mlp.fc1.bias": 0, "head.fc.bias": 0}))
      ['stages.1.0.pwconv1.bias', 'head.bias']

    References:
      `timm <https://github.com/huggingface/pytorch-image-models>`_.
    """
    rules: dict[str, _Replacement] = {
        r"^stem\.": "downsample_layers.0.",
        r"^stages\.(\d+)\.downsample\.": r"downsample_layers.\1.",
        r"^stages\.(\d+)\.blocks\.": r"stages.\1.",
        r"\.conv_dw\.": ".dwconv.",
        r"\.mlp\.fc([12])\.": r".pwconv\1.",
        r"^head\.norm\.": "norm.",
        r"^head\.fc\.": "head.",
    }
    return _renamed(state, rules)


def torchvision_convnext(state: Mapping[str, Any]) -> dict[str, Any]:
    """Renames torchvision's ConvNeXt.

    Args:
      state: from names to arrays; the layer scales are `[C, 1, 1]`.

    Returns:
      For `models.ConvNeXt`.

    Raises:
      ValueError: two names become one.

    Example:
      >>> list(torchvision_convnext({"features.3.0.block.2.bias": 0}))
      ['stages.1.0.norm.bias']

    References:
      `torchvision <https://github.com/pytorch/vision>`_.
    """
    inside = {"0": "dwconv", "2": "norm", "3": "pwconv1", "5": "pwconv2"}
    place = lambda match: int(match[1]) // 2
    rules: dict[str, _Replacement] = {
        r"^features\.(\d+)\.(\d+)\.(?=block|layer_scale)": (
            lambda match: f"stages.{place(match)}.{match[2]}."
        ),
        r"^features\.(\d+)\.": lambda match: f"downsample_layers.{place(match)}.",
        r"\.block\.([0235])\.": lambda match: f".{inside[match[1]]}.",
        r"\.layer_scale$": ".gamma",
        r"^classifier\.0\.": "norm.",
        r"^classifier\.2\.": "head.",
    }
    return {
        name: np.reshape(value, -1) if name.endswith(".gamma") else value
        for name, value in _renamed(state, rules).items()
    }


def efficientnet_lite(state: Mapping[str, Any]) -> dict[str, Any]:
    """Renames EfficientNet-Lite of the package `efficientnet_lite_pytorch`.

    Its names are ours with an underscore before each word.

    Args:
      state: from names to arrays.

    Returns:
      For `models.EfficientNetLite`.

    Raises:
      ValueError: two names become one.

    Example:
      >>> list(efficientnet_lite({"_blocks.0._bn1.bias": 0, "_fc.bias": 0}))
      ['blocks.0.bn1.bias', 'fc.bias']

    References:
      `EfficientNet-Lite-PyTorch
      <https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch>`_.
    """
    return _renamed(state, {r"(^|\.)_": r"\1"})


def cct_sinusoidal(state: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the sinusoidal positions out, which are constants here.

    The authors' code keeps them among the parameters of a `cct_6_3x1_32_sine`.

    Args:
      state: from names to arrays.

    Returns:
      For `models.CCT`.

    Raises:
      ValueError: the positions are none, or not the sinusoidal ones.

    Example:
      >>> positions = cct.sinusoidal_positions(4, 8)
      >>> cct_sinusoidal({"classifier.positional_emb": positions})
      {}

    References:
      `Compact-Transformers <https://github.com/SHI-Labs/Compact-Transformers>`_.
    """
    rest = dict(state)
    positions = np.asarray(rest.pop("classifier.positional_emb", 0.0))
    if positions.ndim == 3:
        expected = cct.sinusoidal_positions(*positions.shape[1:])
        # The sine is another library's, and the state may have been rounded.
        tolerance = max(1e-6, float(jnp.finfo(positions.dtype).eps))
        if positions.shape == expected.shape:
            error = np.abs(positions.astype(np.float64) - expected)
            if error.max(initial=0) <= tolerance:
                return rest
    raise ValueError(
        "cct_sinusoidal: 'classifier.positional_emb' is not the sinusoidal embedding, "
        f"it has shape {positions.shape}; a state with learned positions is for "
        "CCT(positions='learnable') as it is."
    )


def _renamed(
    state: Mapping[str, Any], rules: Mapping[str, _Replacement]
) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in rules.items():
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ValueError(
                f"renaming: {name!r} becomes {new!r}, which another name is or becomes "
                "as well; leave one of the two out of the state."
            )
        renamed[new] = value
    return renamed
