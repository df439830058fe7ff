import io

import pytest
from zoos import TINY

from train import display, tensorboard

ROW = {
    "train": [0.4, 0.9, 2.0],
    "validation": [0.5, 0.8, 1.0],
    "images_per_second": 100.0,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_one_line_for_all_seeds_on_a_terminal_and_few_elsewhere(monkeypatch, stream):
    monkeypatch.setattr(display.sys, "stderr", stream)
    monkeypatch.setattr(display.tqdm, "monitor_interval", 0)
    with display.line(TINY) as progress:
        progress(0, TINY.epochs, {})
        progress(1, 1, ROW)
        progress(1, 2, {**ROW, "validation": [0.25, 0.9, 1.0]})
    assert ("6/8" in stream.getvalue()) == stream.isatty()
    assert ("validation 90.0%" in stream.getvalue()) == stream.isatty()
    assert stream.isatty() or not stream.getvalue()


def test_lines_elsewhere_come_now_and_then(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(display.sys, "stderr", stream)
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with display.line(TINY) as progress:
        for now[0], epoch in ((20.0, 1), (40.0, 2), (60.0, 3), (80.0, 4)):
            progress(0, epoch, ROW)
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["2 of 8 epochs", "4 of 8 epochs"]
    with display.line(TINY, quiet=True) as progress:
        now[0] += 100
        progress(0, 1, ROW)
    assert stream.getvalue().splitlines() == lines


def test_diverged_seeds_are_counted_and_not_shown():
    lost = {**ROW, "train": [float("nan"), 0.1, 2.0]}
    assert display.postfix({0: lost, 1: lost}) == "2 diverged"
    text = display.postfix({0: lost, 1: {**ROW, "validation": [0.1, 0.7, 1.0]}})
    assert "validation 70.0% (70.0% to 70.0%)" in text
    assert text.endswith(", 1 diverged")


def test_events_are_those_of_each_seed(tmp_path):
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore

    with tensorboard.events(tmp_path) as progress:
        progress(0, 4, {})
        progress(1, 1, ROW)
        progress(1, 2, ROW)
    folders = list((tmp_path / tensorboard.FOLDER).iterdir())
    assert [folder.name for folder in folders] == ["seed_001"]
    (file,) = folders[0].iterdir()
    read = []
    stream = io.BytesIO(file.read_bytes())
    while header := stream.read(12):  # length and its checksum, then the event and its
        event = Event.FromString(stream.read(int.from_bytes(header[:8], "little")))
        stream.read(4)
        read += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    expected = [
        (f"{split}/{name}", epoch, pytest.approx(value))
        for epoch in (1, 2)
        for split in ("train", "validation")
        for name, value in zip(("loss", "accuracy"), ROW[split][:2], strict=True)
    ]
    assert read == expected
