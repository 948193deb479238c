"""LightningDataModules, and the machinery of their batches."""

from litnets.data.augment import Augmentation, Cutout, RandomFlip, RandomShift
from litnets.data.datamodule import ArrayDataModule, ImageDataModule
from litnets.data.digits import Digits
from litnets.data.mnist import MNIST, FashionMNIST
from litnets.data.names import Names
from litnets.data.series import ETTh1, ETTh2, SeriesCSV
from litnets.data.series_folder import SeriesFolder
from litnets.data.tables import BreastCancer, Diabetes, Iris, TableCSV, TableDataModule, Wine
from litnets.data.text import TextDataModule
from litnets.data.text_files import TextFiles
from litnets.data.toys import XOR, Moons, Spirals

__all__ = [
    "MNIST",
    "XOR",
    "ArrayDataModule",
    "Augmentation",
    "BreastCancer",
    "Cutout",
    "Diabetes",
    "Digits",
    "ETTh1",
    "ETTh2",
    "FashionMNIST",
    "ImageDataModule",
    "Iris",
    "Moons",
    "Names",
    "RandomFlip",
    "RandomShift",
    "SeriesCSV",
    "SeriesFolder",
    "Spirals",
    "TableCSV",
    "TableDataModule",
    "TextDataModule",
    "TextFiles",
    "Wine",
]
