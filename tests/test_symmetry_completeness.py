"""The tracer finds every scaling that there is, and not one more.

For each architecture: the number of scalings by hand, with the reason in the comment;
what `symmetry.trace` finds; and the nullity of the derivatives, which shares no code
with the tracer. General linear spaces count the torus of their diagonal matrices.
"""

import math
from collections.abc import Iterable
from math import factorial
from typing import Any, NamedTuple

import jax
import pytest
from architectures import Architecture, Block
from compounds import (
    Attention,
    Autoencoder,
    Branches,
    Concat,
    Embed,
    Experts,
    Gate,
    HiddenTensor,
    Recurrent,
    Residual,
    Scan,
    SplitActs,
    SqueezeExcite,
    TiedHead,
    Twice,
)
from layers import (
    Act,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Depthwise,
    Flatten,
    GlobalPool,
    GroupNorm,
    LayerNorm,
    LayerNormOfAll,
    LayerScale,
    MaxPool,
    Normalise,
    Positions,
    Reverse,
    RMSNorm,
    ScalarGain,
    SequencePool,
    Shuffle,
    Transposed,
    WeightNorm,
)
from scaling_nullity import nullity

from symjax_lib import symmetry

VECTORS, SEQUENCES, IMAGES, TOKENS = (5, 3), (3, 4, 3), (3, 4, 4, 2), (3, 4)
VOCABULARY = 5
RELU, TANH, GELU, HEAD, POOL = (
    Act("relu"),
    Act("tanh"),
    Act("gelu"),
    Dense(2),
    GlobalPool(),
)


class Case(NamedTuple):
    """An architecture and its scalings.

    Attributes:
      input: shape of the input.
      blocks: of the architecture.
      scalings: their number by hand.
      free: entries of parameters that have no influence on the outputs, such as a bias
        that a mean removes. Each is a scaling for the derivatives, but it says nothing
        about channels and the tracer does not look for it.
    """

    input: tuple[int, ...]
    blocks: tuple[Block, ...]
    scalings: int
    free: int = 0

    @property
    def architecture(self) -> Architecture:
        vocabulary = VOCABULARY if self.input == TOKENS else 0
        return Architecture(self.input, self.blocks, vocabulary)


def case(input: tuple[int, ...], *blocks: Block, count: int, free: int = 0) -> Case:
    return Case(input, blocks, count, free)


def hidden(activation: str, count: int, *, bias: bool = True) -> Case:
    return case(VECTORS, Dense(4, bias), Act(activation), HEAD, count=count)


# fmt: off
DENSE = {
    # One scaling for each of 4 hidden channels if the activation is homogeneous.
    "relu": hidden("relu", 4),
    "relu without bias": hidden("relu", 4, bias=False),
    "leaky relu": hidden("leaky_relu", 4),
    "abs": hidden("abs", 4),
    "square": hidden("square", 4),
    "squared relu": hidden("squared_relu", 4),
    "cube": hidden("cube", 4),
    # None of these is.
    "quadratic": hidden("quadratic", 0),
    "tanh": hidden("tanh", 0),
    "sigmoid": hidden("sigmoid", 0),
    "gelu": hidden("gelu", 0),
    "softplus": hidden("softplus", 0),
    "relu6": hidden("relu6", 0),
    # The diagonal matrices of GL(4).
    "linear": hidden("identity", 4),
    "linear without bias": hidden("identity", 4, bias=False),
    # 4 + 3.
    "two hidden layers": case(
        VECTORS, Dense(4), RELU, Dense(3), RELU, HEAD, count=7),
    # The second layer only.
    "tanh, then relu": case(VECTORS, Dense(4), TANH, Dense(3), RELU, HEAD, count=3),
    # What the first channels do is nothing to the others: 2 of 4.
    "half relu, half tanh": case(
        VECTORS, Dense(4), SplitActs("relu", "tanh"), HEAD, count=2),
    "half relu, half abs": case(
        VECTORS, Dense(4), SplitActs("relu", "abs"), HEAD, count=4),
    "kernels the other way round": case(
        VECTORS, Transposed(4), RELU, Transposed(3), RELU, HEAD, count=7),
    # Every unit of a hidden layer has its own, on however many axes the units are.
    "units on two axes": case(VECTORS, HiddenTensor(2, 3, "relu"), HEAD, count=6 + 3),
    # For each column its length, and the gain and bias through the relu.
    "weight norm": case(VECTORS, WeightNorm(4), RELU, HEAD, count=8),
}
NORMS = {
    # (i) gain and bias through the relu; (ii) kernel, bias and mean against the gain.
    "batch norm": case(VECTORS, Dense(4), BatchNorm(), RELU, HEAD, count=8),
    # (ii) only.
    "batch norm, tanh": case(VECTORS, Dense(4), BatchNorm(), TANH, HEAD, count=4),
    # Kernel, bias and mean through the relu against the gain; gain, bias and head.
    "batch norm after relu": case(VECTORS, Dense(4), RELU, BatchNorm(), HEAD, count=8),
    # Each gain has a scaling on both sides.
    "two batch norms": case(
        VECTORS, Dense(4), BatchNorm(), BatchNorm(), RELU, HEAD, count=12),
    # Gain and bias against the next kernel: 3 channels; and 4 of the relu.
    "batch norm of the input": case(
        VECTORS, BatchNorm(), Dense(4), RELU, HEAD, count=7),
    # (ii) at each of 2 outputs; and 4 of the relu.
    "batch norm of the output": case(
        VECTORS, Dense(4), RELU, HEAD, BatchNorm(), count=6),
    # (i) only; and the 4 biases before it have no influence.
    "batch norm in training": case(
        VECTORS, Dense(4), BatchNorm(train=True), RELU, HEAD, count=4, free=4),
    "batch norm in training without bias": case(
        VECTORS, Dense(4, bias=False), BatchNorm(train=True), RELU, HEAD, count=4),
    # (i) and (ii) for 4 channels and then for 3.
    "batch norm of images": case(
        IMAGES, Conv(4), BatchNorm(), RELU, Conv(3), BatchNorm(), RELU, POOL, HEAD,
        count=14),
    # Gain and bias against the head; nothing passes the norm.
    "layer norm": case(VECTORS, Dense(4), LayerNorm(), HEAD, count=4),
    "layer norm, relu": case(VECTORS, Dense(4), LayerNorm(), RELU, HEAD, count=4),
    "layer norm, gelu": case(VECTORS, Dense(4), LayerNorm(), GELU, HEAD, count=0),
    "layer norm without gain": case(
        VECTORS, Dense(4), LayerNorm(affine=False), HEAD, count=0),
    "rms norm": case(VECTORS, Dense(4), RMSNorm(), HEAD, count=4),
    "group norm": case(IMAGES, Conv(4), GroupNorm(2), RELU, POOL, HEAD, count=4),
    # A mean for each channel: the bias before it has no influence.
    "instance norm": case(
        IMAGES, Conv(4), GroupNorm(4), RELU, POOL, HEAD, count=4, free=4),
    # A gain for each of 4 positions and 3 channels, against the kernel of the head.
    "layer norm over positions": case(
        SEQUENCES, Dense(3), LayerNormOfAll(), Flatten(), HEAD, count=12),
}
CONVOLUTIONS = {
    # 4 + 3, whatever the windows.
    "convolutions": case(
        IMAGES, Conv(4), RELU, Conv(3), RELU, POOL, HEAD, count=7),
    "stride": case(
        (3, 6, 6, 2), Conv(4, stride=2), RELU, Conv(3, stride=2), RELU, POOL, HEAD,
        count=7),
    "dilation": case(
        IMAGES, Conv(4), RELU, Conv(3, dilation=2), RELU, POOL, HEAD, count=7),
    "transposed convolution": case(
        IMAGES, Conv(4, stride=2), RELU, Conv(3, upsample=2), RELU, POOL, HEAD,
        count=7),
    # A group has a kernel for its own channels: 4 + 4.
    "groups": case(
        IMAGES, Conv(4), RELU, Conv(4, groups=2), RELU, POOL, HEAD, count=8),
    "groups of the input": case(
        IMAGES, Conv(4, groups=2), RELU, POOL, HEAD, count=4),
    "groups of 2 and 3": case(
        IMAGES, Conv(4), RELU, Conv(6, groups=2), RELU, POOL, HEAD, count=10),
    # On both sides of each of 4 windows.
    "depthwise": case(IMAGES, Conv(4), RELU, Depthwise(), RELU, POOL, HEAD, count=8),
    "depthwise, linear": case(
        IMAGES, Conv(4), Depthwise(), Conv(3, window=1), RELU, POOL, HEAD,
        count=4 + 4 + 3),
    "depthwise of the input": case(
        IMAGES, Depthwise(), Conv(3, window=1), RELU, POOL, HEAD, count=2 + 3),
    # 3 channels in and 6 out.
    "depthwise, two of each": case(
        IMAGES, Conv(3), RELU, Depthwise(2), RELU, POOL, HEAD, count=9),
    "depthwise and batch norm": case(
        IMAGES, Conv(3), RELU, Depthwise(), BatchNorm(), RELU, POOL, HEAD,
        count=3 + 6),
    # 4 + 4; the order of the channels is another one.
    "shuffled groups": case(
        IMAGES, Conv(4), RELU, Shuffle(2), Conv(4, groups=2), RELU, POOL, HEAD,
        count=8),
    # The second half's 3, wherever they were before.
    "shuffled halves": case(
        VECTORS, Dense(6), Shuffle(3), SplitActs("tanh", "abs"), HEAD, count=3),
    # The gains' 6: 2 channels by 3 on the one side, 3 groups of 2 on the other.
    "depthwise, then other groups": case(
        IMAGES, Depthwise(3), GroupNorm(3), RELU, POOL, HEAD, count=6),
    # The gate's 4 + 4, and 2 that come from groups and from a projection.
    "groups and a projection": case(
        IMAGES, Gate(4, "relu"), Residual((Conv(2, groups=2),)), POOL, HEAD, count=10),
    # The 4 channels of the images, and 2 of the gate's own.
    "squeeze and excite": case(
        IMAGES, Conv(4), RELU, SqueezeExcite(2), POOL, HEAD, count=6),
    "flatten": case(IMAGES, Conv(3), RELU, Flatten(), HEAD, count=3),
    "average pooling": case(
        IMAGES, Conv(3), RELU, AvgPool(), Conv(2), RELU, POOL, HEAD, count=5),
    "max-pooling": case(
        IMAGES, Conv(3), RELU, MaxPool(), Conv(2), RELU, POOL, HEAD, count=5),
    "max-pooling, linear": case(IMAGES, Conv(3), MaxPool(), Flatten(), HEAD, count=3),
    "maximum of all positions": case(
        IMAGES, Conv(3), RELU, GlobalPool("max"), HEAD, count=3),
    # Weights of the sequence by a softmax, against the channels; its bias is nothing.
    "sequence pooling": case(
        SEQUENCES, Dense(4), RELU, SequencePool(), HEAD, count=4, free=1),
}
SHORTCUTS = {
    # The stream's 4 and the block's 3.
    "identity": case(
        VECTORS, Dense(4), RELU, Residual((Dense(3), RELU, Dense(4))), RELU, HEAD,
        count=7),
    # The stream is linear: the diagonal matrices of GL(4); and the block's 3.
    "linear stream": case(
        VECTORS, Dense(4), Residual((Dense(3), RELU, Dense(4))), HEAD, count=7),
    "linear stream, gelu": case(
        VECTORS, Dense(4), Residual((Dense(3), GELU, Dense(4))), HEAD, count=4),
    # The stream is shared by both blocks.
    "two blocks": case(
        VECTORS, Dense(4), *[Residual((RELU, Dense(3), RELU, Dense(4)))] * 2, HEAD,
        count=4 + 3 + 3),
    # Both sides of the projection are free: 4 + 3 + 5.
    "projection": case(
        VECTORS, Dense(4), RELU,
        Residual((Dense(3), RELU, Dense(5)), "projection"), RELU, HEAD, count=12),
    # 4 of 6 channels are those of the stream before; 2 are new; and the block's 3.
    "zero padding": case(
        VECTORS, Dense(4), RELU, Residual((Dense(3), RELU, Dense(6)), "pad"), RELU,
        HEAD, count=6 + 3),
    "zero padding of images": case(
        IMAGES, Conv(2), RELU,
        Residual((Conv(3, stride=2), RELU, Conv(4)), "pad"), RELU, POOL, HEAD,
        count=4 + 3),
    # (ii) for the block's 3; for the stream only through both gains' results: (i)
    # for 4, shared; (ii) for the two norms at the ends of the branches.
    "batch norm": case(
        VECTORS, Dense(4), BatchNorm(), RELU,
        Residual((Dense(3), BatchNorm(), RELU, Dense(4), BatchNorm())), RELU, HEAD,
        count=(4 + 4) + (3 + 3) + 4),
    # The input is the stream: fixed; the block's 3.
    "stream of the input": case(
        VECTORS, Residual((Dense(4), RELU, Dense(3))), HEAD, count=4),
    # Backwards: channels i and 4 - i of the stream have one scaling, here 2 of them.
    "reversed in the branch": case(
        VECTORS, Dense(4), RELU, Residual((Reverse(),)), RELU, HEAD, count=2),
    "reversed": case(VECTORS, Dense(4), RELU, Reverse(), HEAD, count=4),
    # 3 channels and 2 that are added.
    "concatenation": case(
        VECTORS, Dense(3), RELU, Concat((Dense(2), RELU)), HEAD, count=5),
    "concatenations": case(
        VECTORS, Dense(3), RELU, *[Concat((Dense(2), RELU))] * 2, HEAD, count=7),
    # (i) for the 3, 5 and 7 channels of the norms; (ii) for the 3 + 2 + 2 channels,
    # each with all the means that see it.
    "dense blocks": case(
        IMAGES, Conv(3), *[Concat((BatchNorm(), RELU, Conv(2)))] * 2, BatchNorm(),
        RELU, POOL, HEAD, count=15 + 7),
    "branches": case(
        VECTORS, Dense(4), RELU, Branches((Dense(3),), (Dense(2), RELU)), RELU, HEAD,
        count=4 + 3 + 2),
    # One part of a concatenation has no scaling.
    "branches, relu and tanh": case(
        VECTORS, Branches((Dense(3), RELU), (Dense(2), TANH)), HEAD, count=3),
    # The scale against what it multiplies: 3; the block's 4; the stream's 3.
    "layer scale": case(
        VECTORS, Dense(3), Residual((Dense(4), RELU, Dense(3), LayerScale())), HEAD,
        count=10),
    "layer scale of the input": case(
        VECTORS, LayerScale(), Dense(4), RELU, HEAD, count=3 + 4),
    "layer scale of the output": case(
        VECTORS, Dense(4), RELU, HEAD, LayerScale(), count=4 + 2),
}
ATTENTION = {
    # Queries against keys and values against outputs, 4 each; the 3 of the result.
    "two heads": case(
        SEQUENCES, Attention(2, size=2), POOL, HEAD, count=4 + 4 + 3),
    "one head": case(SEQUENCES, Attention(1, size=2), POOL, HEAD, count=2 + 2 + 3),
    # A bias of the keys adds one number to all scores of a query: nothing.
    "biases": case(
        SEQUENCES, Attention(2, size=2, biases="qkvo"), POOL, HEAD, count=11, free=4),
    "bias of queries": case(
        SEQUENCES, Attention(2, size=2, biases="q"), POOL, HEAD, count=11),
    "bias of values": case(
        SEQUENCES, Attention(2, size=2, biases="vo"), POOL, HEAD, count=11),
    "causal": case(
        SEQUENCES, Attention(2, size=2, causal=True), POOL, HEAD, count=11),
    "one kernel for all": case(
        SEQUENCES, Attention(2, size=2, fused=True), POOL, HEAD, count=11),
    "one kernel and bias for all": case(
        SEQUENCES, Attention(2, size=2, fused=True, biases="qkv"), POOL, HEAD,
        count=11, free=4),
    # Only keys and values: 2 heads of 2 channels each, whatever the queries' heads.
    "grouped queries": case(
        SEQUENCES, Attention(4, kv_heads=2, size=2), POOL, HEAD, count=4 + 4 + 3),
    "one head for all queries": case(
        SEQUENCES, Attention(3, kv_heads=1, size=2), POOL, HEAD, count=2 + 2 + 3),
    # A rotation turns two channels into one another: they share theirs.
    "rotary": case(
        SEQUENCES, Attention(2, size=4, rotary=True), POOL, HEAD,
        count=2 * 2 + 2 * 4 + 3),
    # The gain of the norm against queries, keys and values: 4; queries 4, values 4.
    "layer norm before": case(
        SEQUENCES, Dense(4), Residual((LayerNorm(), Attention(2, size=2))),
        LayerNorm(), POOL, HEAD, count=4 + 4 + 4 + 4),
    "transformer": case(
        SEQUENCES, Dense(3),
        Residual((LayerNorm(), Attention(2, size=2, biases="qvo"))),
        Residual((LayerNorm(), Dense(4), GELU, Dense(3))),
        LayerNorm(), SequencePool(), HEAD,
        # Three norms; queries and values; the free bias of the pooling.
        count=9 + 8, free=1),
    "transformer with squared relu": case(
        SEQUENCES, Dense(3), Residual((RMSNorm(), Attention(1, size=2))),
        Residual((RMSNorm(), Dense(4), Act("squared_relu"), Dense(3))),
        RMSNorm(), POOL, HEAD, count=9 + 4 + 4),
}
GATES = {
    # The side without a function: 4.
    "silu": case(VECTORS, Gate(4, "silu"), HEAD, count=4),
    "sigmoid": case(VECTORS, Gate(4, "sigmoid"), HEAD, count=4),
    # Both sides: 8.
    "relu": case(VECTORS, Gate(4, "relu"), HEAD, count=8),
    "bilinear": case(VECTORS, Gate(4, "identity"), HEAD, count=8),
    "silu, one kernel": case(VECTORS, Gate(4, "silu", split=True), HEAD, count=4),
    "relu, one kernel": case(VECTORS, Gate(4, "relu", split=True), HEAD, count=8),
    # Each expert has its own hidden layer: 2 * 3; the results are summed: 3.
    "experts": case(VECTORS, Experts(2, 3, "relu"), HEAD, count=6 + 3),
    "experts, gelu": case(VECTORS, Experts(2, 3, "gelu"), HEAD, count=3),
}
TIES = {
    # What the kernel does on one side it undoes on the other: nothing.
    "autoencoder": case(VECTORS, Autoencoder(4, "relu"), count=0),
    "linear autoencoder": case(VECTORS, Autoencoder(4, "identity"), count=0),
    # The channels before and after share their scalings.
    "a kernel and bias used twice": case(
        VECTORS, Dense(4), RELU, Twice("relu"), HEAD, count=4),
    "recurrent": case(SEQUENCES, Recurrent(4, "relu"), HEAD, count=4),
    "recurrent, tanh": case(SEQUENCES, Recurrent(4, "tanh"), HEAD, count=0),
    # The table against the next kernel, 4; and the hidden 3.
    "embedding": case(
        TOKENS, Embed(VOCABULARY, 4), Dense(3), RELU, POOL, HEAD, count=7),
    "learnt positions": case(
        TOKENS, Embed(VOCABULARY, 4), Positions(), Dense(3), RELU, POOL, HEAD,
        count=7),
    # A constant is added to the table's vectors: they are fixed.
    "sinusoidal positions": case(
        TOKENS, Embed(VOCABULARY, 4), Positions(learnt=False), Dense(3), RELU, POOL,
        HEAD, count=3),
    # The table again, on the other side of the hidden layer.
    "tied head": case(
        TOKENS, Embed(VOCABULARY, 4), Dense(3), RELU, Dense(4), TiedHead(VOCABULARY),
        count=4 + 3),
    # The stream goes from one end to the other: only the hidden layer is free.
    "tied head, residual": case(
        TOKENS, Embed(VOCABULARY, 4), Residual((Dense(3), RELU, Dense(4))),
        TiedHead(VOCABULARY), count=3),
    # 3 before the loop, 3 after each of 2 turns.
    "loop over layers": case(
        VECTORS, Dense(3), RELU, Scan(2, "relu"), HEAD, count=9),
    "loop over layers, tanh": case(
        VECTORS, Dense(3), RELU, Scan(2, "tanh"), HEAD, count=3),
    # The stream's 3 and 4 in each of 2 blocks.
    "loop over blocks": case(
        VECTORS, Dense(3), Scan(2, "relu", hidden=4), HEAD, count=3 + 8),
    "loop over blocks, gelu": case(
        VECTORS, Dense(3), Scan(2, "gelu", hidden=4), HEAD, count=3),
}
# One factor on a whole array, which no single axis shows.
WHOLE = {
    # The number against the head; and 4 of the relu.
    "one gain": case(VECTORS, Dense(4), RELU, ScalarGain(), HEAD, count=5),
    # ReZero: the number against the block's results; the block's 4; the stream's 3.
    "one gain in a branch": case(
        VECTORS, Dense(3), Residual((Dense(4), RELU, Dense(3), ScalarGain())), HEAD,
        count=8),
    # A kernel that is used twice halves the head's when it grows: 4 + 1.
    "a kernel used twice": case(
        VECTORS, Dense(4), RELU, Twice("relu", bias=False), HEAD, count=5),
    # The same; and the gain and bias of the norm: 4 + 1.
    "a kernel used twice after groups": case(
        VECTORS, Dense(4), GroupNorm(2), Twice("relu", bias=False), HEAD, count=5),
    # The stream's 2, and the number against half of the head.
    "one gain in a concatenation": case(
        VECTORS, Dense(2), Branches((ScalarGain(),), (RELU,)), HEAD, count=3),
    # The number against half of a kernel.
    "one gain after a gate": case(
        VECTORS, Gate(3, "softplus", split=True), ScalarGain(), count=1),
    # Its kernel on both sides of the relu, against the square in the head.
    "autoencoder, head": case(VECTORS, Autoencoder(4, "relu"), HEAD, count=1),
    # The length of the vectors is nothing.
    "normalised": case(VECTORS, Dense(4), Normalise(), HEAD, count=1),
}
# fmt: on
GROUPS = {
    "dense": DENSE,
    "norms": NORMS,
    "convolutions": CONVOLUTIONS,
    "shortcuts": SHORTCUTS,
    "attention": ATTENTION,
    "gates": GATES,
    "ties": TIES,
    "whole arrays": WHOLE,
}
CASES = {
    f"{group}: {name}": each
    for group, table in GROUPS.items()
    for name, each in table.items()
}
# Scalings that the tracer is known not to find, and why.
MISSED = {
    "norms: layer norm over positions": "a gain is one axis of positions and channels",
    "convolutions: shuffled halves": "pieces that are split and joined",
    "convolutions: depthwise, then other groups": "two ways to group the same channels",
    "convolutions: groups and a projection": "two ways to group the same channels",
    "shortcuts: reversed in the branch": "an axis is itself the other way round",
    "whole arrays: a kernel used twice after groups": "the factor is for half an array",
    "whole arrays: one gain in a concatenation": "the factor is for half an array",
    "whole arrays: one gain after a gate": "the factor is for half an array",
}


def _params(missed: dict[str, str], names: Iterable[str]) -> list[Any]:
    marks = lambda why: [pytest.mark.xfail(strict=True, reason=why)] if why else []
    return [pytest.param(name, marks=marks(missed.get(name))) for name in names]


@pytest.mark.slow  # it checks the numbers of this file, and nothing of the library
@pytest.mark.parametrize("name", CASES)
def test_nullity(name):
    """The count by hand is right."""
    each = CASES[name]
    net = each.architecture
    found = nullity(net.apply, net.init(), net.example())
    assert found == (each.scalings, each.free)


@pytest.mark.parametrize("name", _params(MISSED, CASES))
def test_dimension(name):
    """The tracer finds as many."""
    each = CASES[name]
    net = each.architecture
    with jax.enable_x64(True):
        found = symmetry.trace(net.apply, net.init(), net.example()).dimension
    assert found == each.scalings


# How many components the group has, by hand: orders and signs of the channels, and the
# two signs of the determinant of each general linear group.
GL = 2
# fmt: off
FINITE = {
    # Orders of 4 channels.
    "dense: relu": factorial(4),
    "dense: gelu": factorial(4),
    # An odd function passes signs; those that an even one removes are symmetries too.
    "dense: tanh": factorial(4) * 2**4,
    "dense: cube": factorial(4) * 2**4,
    "dense: abs": factorial(4) * 2**4,
    "dense: square": factorial(4) * 2**4,
    "dense: linear": GL,
    # Either half has its own orders.
    "dense: half relu, half tanh": factorial(2) * factorial(2) * 2**2,
    # The sign of a kernel against that of a gain: exact in training too.
    "norms: batch norm": factorial(4) * 2**4,
    "norms: batch norm in training": factorial(4) * 2**4,
    # The signs of a gain and bias against the head; and of all channels at once.
    "norms: layer norm": factorial(4) * 2**4 * 2,
    # Those, and here the sign of each channel alone.
    "norms: rms norm": factorial(4) * 2**4 * 2**4,
    # Orders inside and of the 2 groups, in and out.
    "convolutions: groups": 2 * (factorial(2) * factorial(2)) ** 2,
    "convolutions: depthwise": factorial(4),
    # Signs of the depthwise kernel against both neighbours.
    "convolutions: depthwise, linear": factorial(4) * 2**4 * 2**4 * factorial(3),
    "convolutions: depthwise, two of each": factorial(3) * factorial(2) ** 3,
    # The stream's 4, the 2 that are new, and the block's 3.
    "shortcuts: zero padding": factorial(4) * factorial(2) * factorial(3),
    "shortcuts: concatenation": factorial(3) * factorial(2),
    # Pairs of the stream's 4 channels, and each pair the other way round.
    "shortcuts: reversed in the branch": 2 * 2**2,
    "shortcuts: branches": factorial(4) * factorial(3) * factorial(2),
    # The heads; in each queries with keys, and values; and the result.
    "attention: two heads":
        2 * (GL * GL) ** 2 * GL,
    # The key-value heads; the queries' heads of each; then as above.
    "attention: grouped queries":
        2 * 2**2 * (GL * GL) ** 2 * GL,
    "attention: one kernel for all":
        2 * (GL * GL) ** 2 * GL,
    # The value and the function of the other side go together; signs of the value.
    "gates: silu": factorial(4) * 2**4,
    # The experts; in each of 2 the hidden 3; and the result.
    "gates: experts": 2 * factorial(3) ** 2 * GL,
    # Before the loop, and after each of 2 turns.
    "ties: loop over layers": factorial(3) ** 3,
    "ties: recurrent, tanh": factorial(4) * 2**4,
    "ties: embedding": GL * factorial(3),
}
# fmt: on


@pytest.mark.parametrize("name", _params(MISSED, FINITE))
def test_components(name):
    net = CASES[name].architecture
    found = symmetry.trace(net.apply, net.init(), net.example()).log_permutations
    assert round(math.exp(found)) == FINITE[name]
