"""Random lists of blocks, for Hypothesis: the simplest first, as examples shrink."""

from typing import Any

from architectures import ACTIVATIONS, Architecture
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
from hypothesis import strategies as st
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
    Positions,
    Reverse,
    RMSNorm,
    ScalarGain,
    SequencePool,
    Shuffle,
    Slice,
    Transposed,
    WeightNorm,
)

VOCABULARY = 5
widths = st.sampled_from([2, 3, 4, 6, 1])
small = st.sampled_from([2, 3, 1])
yes_or_no = st.booleans()
names = st.sampled_from(list(ACTIVATIONS))
# Where a function is applied many times its results should stay finite.
tame = st.sampled_from(["relu", "tanh", "abs", "leaky_relu", "identity", "gelu"])
acts = st.builds(Act, names)
anywhere = st.one_of(
    acts,
    st.builds(Dense, widths, yes_or_no),
    st.builds(BatchNorm, yes_or_no),
    st.builds(LayerNorm, yes_or_no),
    st.builds(RMSNorm),
    st.builds(GroupNorm, small),
    st.builds(Gate, widths, names, yes_or_no),
    st.builds(LayerScale),
    st.builds(Transposed, widths),
    st.builds(Reverse),
    st.builds(Slice),
    st.builds(Shuffle, small),
    st.builds(SplitActs, names, names),
    st.builds(ScalarGain),
    st.builds(WeightNorm, widths),
    st.builds(Twice, tame, yes_or_no),
    st.builds(Autoencoder, widths, tame),
    st.builds(Scan, small, tame, st.sampled_from([0, 3])),
    st.builds(HiddenTensor, small, small, tame),
    st.builds(Experts, small, small, tame),
)
# No window is smaller than its input here: shortcuts add and join what comes out.
convolutions = st.one_of(
    st.builds(Conv, widths, st.sampled_from([3, 1]), groups=small, bias=yes_or_no),
    st.builds(Conv, widths, dilation=st.just(2)),
    st.builds(Depthwise, small),
)
attention = st.builds(
    Attention,
    heads=st.sampled_from([2, 1, 4]),
    kv_heads=st.sampled_from([0, 1, 2]),
    size=small,
    width=st.sampled_from([0, 4]),
    biases=st.sampled_from(["", "q", "v", "qkvo"]),
    rotary=yes_or_no,
    causal=yes_or_no,
    fused=yes_or_no,
)


def some(blocks: Any, least: int = 1, most: int = 3) -> Any:
    return st.lists(blocks, min_size=least, max_size=most).map(tuple)


def composite(blocks: Any) -> Any:
    """Blocks, and sums and concatenations of them."""
    inner = some(blocks)
    return st.one_of(
        blocks,
        st.builds(Residual, inner, st.sampled_from(["identity", "pad", "projection"])),
        st.builds(Concat, inner),
        st.builds(Branches, inner, inner),
    )


def chain(
    shape: tuple, blocks: Any, *ends: Any, vocabulary: int = 0, first: Any = None
) -> Any:
    """A first layer of parameters, some blocks, and one of the ends."""
    if first is None:
        dense, table = (
            st.builds(Dense, widths),
            st.builds(Embed, st.just(vocabulary), widths),
        )
        first = table if vocabulary else dense
    parts = [some(first, 1, 1), some(blocks, 1, 4), st.sampled_from(ends)]
    return st.tuples(*parts).map(
        lambda lists: Architecture(shape, sum(lists, ()), vocabulary)
    )


HEAD = Dense(2)
sequential = st.one_of(anywhere, attention, st.builds(SqueezeExcite, small, names))
pictorial = st.one_of(convolutions, anywhere, st.builds(SqueezeExcite, small, names))
positioned = st.one_of(composite(sequential), st.builds(Positions, yes_or_no))
pooled = st.sampled_from([AvgPool(), MaxPool(), Conv(3, stride=2)])
POOLED = (GlobalPool(), HEAD), (GlobalPool("max"), HEAD), (Flatten(), HEAD), (HEAD,)
architectures = st.one_of(
    chain((5, 3), composite(anywhere), (HEAD,), ()),
    chain(
        (3, 4, 3),
        positioned,
        *POOLED,
        (SequencePool(), HEAD),
        (Recurrent(3, "relu"), HEAD),
        (LayerNormOfAll(), Flatten(), HEAD),
    ),
    chain((2, 4, 4, 2), st.one_of(composite(pictorial), pooled), *POOLED),
    chain((3, 4), positioned, *POOLED, (TiedHead(VOCABULARY),), vocabulary=VOCABULARY),
)

# Those of which the tracer finds all scalings: no channel is alone, and none of the few
# blocks that it is known to miss some of, which `test_symmetry_completeness` lists.
several = st.sampled_from([2, 3, 4])
# Not relu6, which is a relu as far as the inputs go, and not powers, which leave the
# derivatives of others 0 but for rounding.
others = st.sampled_from(
    ["relu", "tanh", "gelu", "abs", "identity", "leaky_relu", "silu", "softplus"]
)
layers = st.one_of(
    st.builds(Act, others),
    st.builds(Dense, several, yes_or_no),
    st.builds(BatchNorm),
    st.builds(LayerNorm, yes_or_no),
    st.builds(RMSNorm),
    st.builds(Gate, several, others, yes_or_no),
    st.builds(LayerScale),
    st.builds(SplitActs, others, others),
    st.builds(Transposed, several),
    st.builds(Scan, small, tame, st.sampled_from([0, 3])),
)
heads = st.builds(
    Attention,
    heads=st.sampled_from([2, 1]),
    kv_heads=st.sampled_from([0, 1]),
    size=st.just(4),
    biases=st.sampled_from(["", "q", "v", "qkvo"]),
    rotary=yes_or_no,
    causal=yes_or_no,
    fused=yes_or_no,
)
windows = st.one_of(
    st.builds(Conv, several, st.sampled_from([3, 1]), bias=yes_or_no),
    st.builds(Depthwise),
)
dense = st.builds(Dense, several)
plain = st.one_of(
    chain((5, 3), composite(layers), (HEAD,), first=dense),
    chain((3, 4, 3), composite(st.one_of(layers, heads)), POOLED[0], first=dense),
    chain((2, 4, 4, 2), composite(st.one_of(layers, windows)), POOLED[0], first=dense),
)
