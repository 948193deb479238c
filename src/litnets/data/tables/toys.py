"""Toys: small sets in the plane, made anew each time from the same seed, whose answer is known."""

import math
from typing import Any

import torch

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.table import Table


class XOR(TableDataModule):
    """Clouds around the corners of the unit square; the class is whether the corner's two coordinates differ. No
    straight line parts the classes (Minsky and Papert 1969).

    Args:
        samples: Points, the four corners in turn.
        noise: Standard deviation of a cloud; 0 leaves the corners themselves.
        **splitting: Arguments of `TableDataModule` and `ArrayDataModule`.
    """

    def __init__(self, samples: int = 400, noise: float = 0.05, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.samples, self.noise = samples, noise

    def read(self) -> Table:
        corner = torch.arange(self.samples) % 4
        corners = torch.stack([corner % 2, corner // 2], 1)
        points = corners + self.noise * torch.randn(corners.shape, generator=torch.Generator().manual_seed(0))
        targets = (corners[:, 0] != corners[:, 1]).to(torch.uint8)
        return Table(points, ["x", "y"], [], targets, ["same", "different"])


class Moons(TableDataModule):
    """Two half circles, each reaching into the other (`sklearn.datasets.make_moons`).

    Args:
        samples: Points, half of them in each moon.
        noise: Standard deviation of what is added to each coordinate.
        **splitting: Arguments of `TableDataModule` and `ArrayDataModule`.
    """

    def __init__(self, samples: int = 1000, noise: float = 0.1, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.samples, self.noise = samples, noise

    def read(self) -> Table:
        from sklearn.datasets import make_moons  # here, so that only those who use it pay for the import

        points, targets = make_moons(self.samples, noise=self.noise, random_state=0)
        inputs, classes = torch.from_numpy(points).float(), torch.from_numpy(targets).to(torch.uint8)
        return Table(inputs, ["x", "y"], [], classes, ["upper", "lower"])


class Spirals(TableDataModule):
    """Arms that wind around the origin, one class each (Lang and Witbrock 1988, with noise and any number of arms).

    Args:
        samples: Points, the arms in turn.
        arms: Arms, the classes.
        turns: Turns of an arm.
        noise: Standard deviation of what is added to each coordinate; the arms end at radius 1.
        **splitting: Arguments of `TableDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self, samples: int = 1000, arms: int = 2, turns: float = 1.5, noise: float = 0.02, **splitting: Any
    ) -> None:
        super().__init__(**splitting)
        self.samples, self.arms, self.turns, self.noise = samples, arms, turns, noise

    def read(self) -> Table:
        generator = torch.Generator().manual_seed(0)
        arm = torch.arange(self.samples) % self.arms
        radius = torch.rand(self.samples, generator=generator).sqrt()  # as many points on each length of an arm
        angle = 2 * math.pi * (self.turns * radius + arm / self.arms)
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        points += self.noise * torch.randn(points.shape, generator=generator)
        return Table(points, ["x", "y"], [], arm.to(torch.uint8), [str(i) for i in range(self.arms)])
