"""What is found in the models that are shipped, against counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import apply, shapes, started
from thinned import some

from symjax_lib import models, symmetry
from symjax_lib.models.efficientnet_lite import Stage

IMAGE = (32, 32, 3)
# Convolutions that write to the streams of the four stages of a ResNet50, each with a
# scaling that its BatchNorm undoes; one more for the rectifier behind.
BOTTLENECKS = 5 * 256 + 6 * 512 + 8 * 1024 + 5 * 2048
# Scalings and spaces, by hand.
COUNTS = {
    "MLP": (models.MLP(features=(64, 48)), 64 + 48, 2),
    # Two for each channel: the rectifier's, and the one that BatchNorm undoes.
    "MyrtleCNN": (models.MyrtleCNN(width=16), 2 * 16 * (1 + 2 + 4 + 8), 4),
    "Tiny10": (models.Tiny10(), 2 * (2 * 16 + 3 * 32 + 3 * 64), 8),
    # Inside 9 blocks two for each channel. The 16 channels of the first stream pass
    # through all stages: 10 convolutions write to them. To the 16 that are padded for
    # the second stage 6 do, to the 32 for the third 3.
    "ResNet20": (
        models.ResNet20(), 2 * 3 * (16 + 32 + 64) + 16 * 11 + 16 * 7 + 32 * 4, 12,
    ),
    # With projections each stage has a stream that 4 convolutions write to.
    "ResNet20, projection": (
        models.ResNet20(shortcut="projection"), (2 * 3 + 5) * (16 + 32 + 64), 12,
    ),
    "ResNet18": (models.ResNet18(), (2 * 2 + 4) * (64 + 128 + 256 + 512), 12),
    # Stem; two spaces inside each of 16 blocks; four streams.
    "ResNet50": (
        models.ResNet50(),
        2 * 64 + 2 * 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512) + BOTTLENECKS,
        1 + 32 + 4,
    ),
    "ResNet50, BatchNorm folded": (
        models.ResNet50(norm=False),
        64 + 2 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512) + 256 + 512 + 1024 + 2048,
        1 + 32 + 4,
    ),
    # In each of 6 blocks 4 heads of 64 dimensions, for queries with keys and for values
    # with the projection; 7 LayerNorms with a gain that the next kernel undoes. Spaces:
    # heads, two in each head and the MLP in each block; the stream, which positions
    # hold in place; and the signs of what a LayerNorm takes, block by block.
    "CCT": (models.CCT(), 6 * 2 * 4 * 64 + 7 * 256, 6 * 4 + 1 + 1),
    # The gains of a LayerNorm and of the layer scale in each block, of LayerNorm before
    # each change of resolution and at the end.
    "ConvNeXt": (
        models.ConvNeXt(), 96 * 7 + 192 * 7 + 384 * 19 + 768 * 7, 18 + 4 + 1,
    ),
    # ReLU6 scales nothing. BatchNorm undoes a kernel's scale: of the stem, the head,
    # twice inside a block, and of each convolution that writes to a stream, which has
    # one more of its own. The first block has no expansion, so its inside is the stem.
    "EfficientNetLite": (
        models.EfficientNetLite(),
        2 * (32 + 96 + 2 * 144 + 2 * 240 + 3 * 480 + 3 * 672 + 4 * 1152)
        + 16 * 2 + 24 * 3 + 40 * 3 + 80 * 4 + 112 * 4 + 192 * 5 + 320 * 2 + 1280,
        1 + 15 + 7 + 1,
    ),
}  # fmt: skip


def trace(model):
    images = jax.ShapeDtypeStruct((2, *IMAGE), jnp.float32)
    return symmetry.trace(apply(model), shapes(model, IMAGE), images)


@pytest.mark.parametrize("name", some(COUNTS, every=2))
def test_counts(name):
    model, dimension, spaces = COUNTS[name]
    spec = trace(model)
    assert (spec.dimension, len(spec.spaces)) == (dimension, spaces)


def test_streams_of_option_a_are_tied_across_stages():
    """16 channels of all stages, 16 more from the second on, 32 more in the third."""
    spec = trace(models.ResNet20())
    stages = {"conv1": 16, "layer2.0": 16, "layer3.0": 32}
    assert {name: spec.spaces[name].size for name in stages} == stages
    kernel = spec.variables["params"]["layer3.0"]["conv1"]["kernel"].axes[2]
    of_stage_two = spec.variables["params"]["layer3.1"]["conv1"]["kernel"].axes[2]
    assert {f.label for f in symmetry.factors(kernel)} == {"layer2.0", "conv1"}
    assert {f.label for f in symmetry.factors(of_stage_two)} == {*stages}
    # A quarter of the channels are put on either side.
    places = dict(zip((p.label for p in kernel.parts), kernel.positions, strict=True))
    np.testing.assert_array_equal(places["conv1"], np.arange(8, 24))
    np.testing.assert_array_equal(places["layer2.0"], [*range(8), *range(24, 32)])


def test_heads_have_matrices_of_their_own():
    spec = trace(models.CCT())
    found = [(s.size, s.shape) for s in spec.spaces.values() if s.over]
    assert found == [(64, (4,))] * 12
    kinds = {s.kind for s in spec.spaces.values() if s.over}
    assert kinds == {"general_linear"}


def test_fixed_positions_hold_the_stream_in_place():
    learnt = trace(models.CCT(positions="learnable")).spaces["tokenizer"]
    fixed = trace(models.CCT()).spaces["tokenizer"]
    assert (learnt.permuted, fixed.permuted) == (True, False)
    assert learnt.scalings == fixed.scalings == 7


def test_without_a_rectifier_on_the_stream_signs_pass():
    kinds = {True: "positive_monomial", False: "monomial"}
    for rectified, kind in kinds.items():
        model = models.ResNet50(
            width=2, stem_width=2, blocks=(1, 1, 1, 1), residual_activation=rectified
        )
        assert trace(model).spaces["layer2.0"].kind == kind


SMALL = {
    "ResNet20": (models.ResNet20(width=4, num_classes=3), (8, 8, 3)),
    "projection": (
        models.ResNet20(width=4, num_classes=3, shortcut="projection"), (8, 8, 3),
    ),
    "leaky": (
        models.ResNet20(width=4, num_classes=3, activation=models.LeakyReLU(0.5)),
        (8, 8, 3),
    ),
    "ResNet50": (
        models.ResNet50(width=4, stem_width=4, blocks=(1, 2, 1, 1), num_classes=3),
        (32, 32, 3),
    ),
    "folded, linear stream": (
        models.ResNet50(
            width=4, stem_width=4, blocks=(1, 2, 1, 1), num_classes=3, norm=False,
            residual_activation=False, stride_on="1x1",
        ),
        (32, 32, 3),
    ),
    "CCT": (models.CCT(width=8, num_heads=2, num_layers=2, num_classes=3), (16, 16, 3)),
    "ConvNeXt": (
        models.ConvNeXt(blocks=(1, 2, 1, 1), widths=(4, 6, 8, 8), num_classes=3),
        (32, 32, 3),
    ),
    "EfficientNetLite": (
        models.EfficientNetLite(
            (Stage(4, 2, expansion=1), Stage(5, 2, stride=2, expansion=2)),
            stem_width=4, head_width=6, num_classes=3,
        ),
        (9, 9, 3),
    ),
}  # fmt: skip
# 3 classes read 128 channels of a linear stream: too few to fix a matrix of it.
WITHOUT_FORM = "folded, linear stream"
QUICK = ("CCT",)  # most of the time goes into compiling many small shapes


def cases(names):
    return [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in names
    ]


def moved(name):
    """Returns a model as a function, its group, an element, and variables it moves."""
    model, shape = SMALL[name]
    v = jax.tree.map(lambda x: x.astype(jnp.float64), started(model, shape))
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, *shape)))
    spec = symmetry.trace(apply(model), v, x)
    g = symmetry.sample(jax.random.key(0), spec)
    return apply(model), spec, g, v, symmetry.act(spec, g, v), x


@pytest.mark.parametrize("name", cases(SMALL))
def test_a_random_element_keeps_the_function_and_moves_the_taps(name):
    with jax.enable_x64(True):
        fn, spec, g, v, w, x = moved(name)
        found = symmetry.certify(fn, v, w, x, tolerance=1e-9, spec=spec, element=g)
        assert found.ok, found
        assert set(found.taps) == set(SMALL[name][0].tap_names)


@pytest.mark.parametrize("name", cases(n for n in SMALL if n != WITHOUT_FORM))
def test_all_that_an_element_makes_have_one_form(name):
    with jax.enable_x64(True):
        fn, spec, _, v, w, x = moved(name)
        forms = [symmetry.canonicalize(spec, each) for each in (v, w)]
        for a, b in zip(*map(jax.tree.leaves, forms), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * np.abs(a).max())
        assert symmetry.certify(fn, v, forms[0], x, tolerance=1e-9).ok


@pytest.mark.slow
def test_a_stream_that_is_read_too_little_has_no_form():
    with jax.enable_x64(True):
        _, spec, _, v, *_ = moved(WITHOUT_FORM)
        with pytest.raises(ValueError, match="span less than its 128 channels"):
            symmetry.canonicalize(spec, v)
