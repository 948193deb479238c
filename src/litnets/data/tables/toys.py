"""Toy problems in the plane, generated from a fixed seed: XOR, Moons and Spirals."""

import math
from typing import Any

import torch

from litnets.data.tables.base import TableDataModule
from litnets.data.tables.table import Table


class XOR(TableDataModule):
    """Clusters at the corners of the unit square; the class is whether the two coordinates of the corner differ.

    No straight line separates the classes (Minsky and Papert 1969).

        data = XOR(samples=400, noise=0.05)

    Args:
        samples: Number of points, which alternate between the four corners.
        noise: Standard deviation of each coordinate around its corner.
        **splitting: Arguments of `TableDataModule`, `SplitDataModule` and `ArrayDataModule`.
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
    """Two interleaving half circles (`sklearn.datasets.make_moons`).

        data = Moons(samples=1000, noise=0.1)

    Args:
        samples: Number of points, half of them in each moon.
        noise: Standard deviation of the noise on each coordinate.
        **splitting: Arguments of `TableDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(self, samples: int = 1000, noise: float = 0.1, **splitting: Any) -> None:
        super().__init__(**splitting)
        self.samples, self.noise = samples, noise

    def read(self) -> Table:
        from sklearn.datasets import make_moons  # imported on use, because it is slow

        points, targets = make_moons(self.samples, noise=self.noise, random_state=0)
        inputs, classes = torch.from_numpy(points).float(), torch.from_numpy(targets).to(torch.uint8)
        return Table(inputs, ["x", "y"], [], classes, ["upper", "lower"])


class Spirals(TableDataModule):
    """Spiral arms around the origin, one class each (Lang and Witbrock 1988, with noise and any number of arms).

        data = Spirals(arms=3, turns=1.5)

    Args:
        samples: Number of points, which alternate between the arms.
        arms: Number of arms, which are the classes.
        turns: Number of turns of an arm, from the origin to radius 1.
        noise: Standard deviation of the noise on each coordinate.
        **splitting: Arguments of `TableDataModule`, `SplitDataModule` and `ArrayDataModule`.
    """

    def __init__(
        self, samples: int = 1000, arms: int = 2, turns: float = 1.5, noise: float = 0.02, **splitting: Any
    ) -> None:
        super().__init__(**splitting)
        self.samples, self.arms, self.turns, self.noise = samples, arms, turns, noise

    def read(self) -> Table:
        generator = torch.Generator().manual_seed(0)
        arm = torch.arange(self.samples) % self.arms
        radius = torch.rand(self.samples, generator=generator).sqrt()  # uniform in the disk
        angle = 2 * math.pi * (self.turns * radius + arm / self.arms)
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        points += self.noise * torch.randn(points.shape, generator=generator)
        return Table(points, ["x", "y"], [], arm.to(torch.uint8), [str(i) for i in range(self.arms)])
