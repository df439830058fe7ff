"""Networks whose activations are named in place, and weights for them from PyTorch.

A model is a flax.linen module called as `model.apply(variables, images, train=False)`
on channel-last images `[N, H, W, C]`, and returns logits. `model.tap_names` lists the
names under which `tracing` finds the value right after each activation, in order;
`model.paper_names` gives those layers the names that the paper's tables have, if any.
In training mode pass `mutable=["batch_stats"]`, also to a model without BatchNorm.
"""

from symjax_lib.models import convert as convert
from symjax_lib.models.mlp import MLP as MLP
from symjax_lib.models.myrtle import MyrtleCNN as MyrtleCNN
from symjax_lib.models.tiny10 import Tiny10 as Tiny10
