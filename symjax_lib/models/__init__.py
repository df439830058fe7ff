"""Networks whose activations are named in place, and weights for them from PyTorch.

A model is a flax.linen module called as `model.apply(variables, images, train=False)`
on channel-last images `[N, H, W, C]`, and returns logits. `model.tap_names` lists the
names under which `tracing` finds the value right after each activation, and those of
residual blocks' outputs without one, in order; `model.paper_names` gives those layers
the names that the paper's tables have, if any. In training mode pass
`mutable=["batch_stats"]`, also to a model without BatchNorm, and to one with dropout
`rngs={"dropout": key}`.
"""

from symjax_lib.models import convert as convert, renaming as renaming
from symjax_lib.models.cct import CCT as CCT
from symjax_lib.models.convnext import ConvNeXt as ConvNeXt
from symjax_lib.models.efficientnet_lite import EfficientNetLite as EfficientNetLite
from symjax_lib.models.layers import LeakyReLU as LeakyReLU
from symjax_lib.models.mlp import MLP as MLP
from symjax_lib.models.myrtle import MyrtleCNN as MyrtleCNN
from symjax_lib.models.resnet_cifar import (
    CifarResNet as CifarResNet,
    ResNet18 as ResNet18,
    ResNet20 as ResNet20,
    ResNet32 as ResNet32,
    ResNet44 as ResNet44,
    ResNet56 as ResNet56,
)
from symjax_lib.models.resnet_imagenet import ResNet50 as ResNet50
from symjax_lib.models.tiny10 import Tiny10 as Tiny10
