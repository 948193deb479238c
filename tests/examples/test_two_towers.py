from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from torch import nn

from examples import two_towers


def test_partners_have_the_same_class():
    images = torch.arange(6).view(6, 1), torch.tensor([0, 1, 2, 0, 1, 2])
    sounds = torch.tensor([[10], [20], [21], [30]]), torch.tensor([0, 1, 1, 2])
    left, right, classes = two_towers.pair(images, sounds, torch.Generator().manual_seed(0))
    assert left.equal(images[0])
    assert (right.squeeze(1) // 10 - 1).equal(classes)


def test_both_towers_are_read_and_trained():
    net = two_towers.TwoTowers([nn.Linear(3, 4), nn.Linear(5, 4)], width=4, num_classes=2)
    x, y = torch.randn(8, 3), torch.randn(8, 5)
    before = [parameter.clone() for parameter in net.parameters()]
    two_towers.train(net, [x, y], torch.arange(8) % 2, epochs=1)
    assert not any(map(torch.equal, before, net.parameters()))
    assert not torch.equal(net(x, y), net(x, -y))
    assert not torch.equal(net(x, y), net(-x, y))


def test_the_example_runs(tmp_path: Path, capsys):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for digit in range(10):
        for index in (0, 5, 6, 7):
            tone = np.sin(np.arange(2400) * (digit + 1) / 8) * 9000 + rng.normal(0, 100, 2400)
            wavfile.write(folder / f"{digit}_theo_{index}.wav", 8000, tone.astype(np.int16))
    scores = two_towers.main(["--data_dir", str(tmp_path), "--epochs", "1"])
    assert list(scores) == ["image", "sound", "both"]
    assert "both: test/accuracy" in capsys.readouterr().out
