"""Residual networks by their definitions, after the authors' code."""

import numpy as np
import numpy_layers as plain


def cifar_network(state, images, *, blocks, width, shortcut, activation, classes=10):
    x, taps = plain.channels_first(images), {}

    def keep(name, value):
        taps[name] = plain.channels_last(value)
        return value

    def normed(name, norm, x, *args, **options):
        return plain.batch_norm(
            state, norm, plain.conv(state, name, x, *args, **options)
        )

    x = normed("conv1", "bn1", x, width, 3, padding=1)
    x = keep("conv1", activation(x))
    for i, count in enumerate(blocks):
        for j in range(count):
            name, features = f"layer{i + 1}.{j}", width * 2**i
            stride = 2 if i and not j else 1
            y = normed(
                f"{name}.conv1", f"{name}.bn1", x, features, 3, stride=stride, padding=1
            )
            y = keep(f"{name}.conv1", activation(y))
            y = normed(f"{name}.conv2", f"{name}.bn2", y, features, 3, padding=1)
            if stride == 2 and shortcut == "pad":
                zeros = np.zeros_like(y[:, : features // 4])
                x = np.concatenate([zeros, x[:, :, ::2, ::2], zeros], 1)
            elif stride == 2:
                names = f"{name}.downsample.0", f"{name}.downsample.1"
                x = normed(*names, x, features, 1, stride=2)
            x = keep(name, activation(x + y))
    return plain.linear(state, "fc", x.mean((2, 3)), classes), taps


def bottleneck_network(
    state, images, *, model, first_stride, padding, activated=True, classes=5
):
    x, taps = plain.channels_first(images), {}

    def keep(name, value):
        taps[name] = plain.channels_last(value)
        return value

    def conv(name, norm, x, *args, **options):
        x = plain.conv(state, name, x, *args, bias=not model.norm, **options)
        return plain.batch_norm(state, norm, x) if model.norm else x

    x = conv("conv1", "bn1", x, model.stem_width, 7, stride=2, padding=3)
    x = plain.max_pool(keep("conv1", plain.relu(x)), padding=padding)
    for i, count in enumerate(model.blocks):
        width = model.width * 2**i
        for j in range(count):
            name, stride = f"layer{i + 1}.{j}", 2 if i and not j else 1
            a, b = (stride, 1) if first_stride else (1, stride)
            y = conv(f"{name}.conv1", f"{name}.bn1", x, width, 1, stride=a)
            y = keep(f"{name}.conv1", plain.relu(y))
            y = conv(f"{name}.conv2", f"{name}.bn2", y, width, 3, stride=b, padding=1)
            y = keep(f"{name}.conv2", plain.relu(y))
            y = conv(f"{name}.conv3", f"{name}.bn3", y, 4 * width, 1)
            if x.shape != y.shape:
                names = f"{name}.downsample.0", f"{name}.downsample.1"
                x = conv(*names, x, 4 * width, 1, stride=stride)
            x = keep(name, plain.relu(x + y) if activated else x + y)
    return plain.linear(state, "fc", x.mean((2, 3)), classes), taps
