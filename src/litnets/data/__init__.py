"""LightningDataModules for images, text, audio, time series and tables."""

from litnets.data.audio.base import AudioDataModule
from litnets.data.audio.folder import AudioFolder
from litnets.data.audio.spoken_digits import SpokenDigits
from litnets.data.core.array_data import ArrayData
from litnets.data.core.base import ArrayDataModule
from litnets.data.images.arrays import ImageArrays
from litnets.data.images.augment import (
    AlternatingFlip,
    Augmentation,
    ColorJitter,
    Cutout,
    GeometricAugmentation,
    IntensityAugmentation,
    Noise,
    RandomAffine,
    RandomFlip,
    RandomShift,
)
from litnets.data.images.base import ImageDataModule
from litnets.data.images.cifar10 import CIFAR10
from litnets.data.images.digits import Digits
from litnets.data.images.folder import ImageFolder
from litnets.data.images.mnist import MNIST, FashionMNIST
from litnets.data.images.segmentation import SegmentationDataModule
from litnets.data.images.segmentation_folder import SegmentationFolder
from litnets.data.images.shapes import Shapes
from litnets.data.images.streaming import StreamedImages
from litnets.data.series.base import SeriesDataModule
from litnets.data.series.csv_series import SeriesCSV
from litnets.data.series.ett import ETTh1, ETTh2
from litnets.data.series.folder import SeriesFolder
from litnets.data.tables.base import TableDataModule
from litnets.data.tables.csv_table import TableCSV
from litnets.data.tables.scikit_learn import BreastCancer, Diabetes, Iris, Wine
from litnets.data.tables.toys import XOR, Moons, Spirals
from litnets.data.text.base import TextDataModule
from litnets.data.text.files import TextFiles
from litnets.data.text.names import Names

__all__ = [
    "CIFAR10",
    "MNIST",
    "XOR",
    "AlternatingFlip",
    "ArrayData",
    "ArrayDataModule",
    "AudioDataModule",
    "AudioFolder",
    "Augmentation",
    "BreastCancer",
    "ColorJitter",
    "Cutout",
    "Diabetes",
    "Digits",
    "ETTh1",
    "ETTh2",
    "FashionMNIST",
    "GeometricAugmentation",
    "ImageArrays",
    "ImageDataModule",
    "ImageFolder",
    "IntensityAugmentation",
    "Iris",
    "Moons",
    "Names",
    "Noise",
    "RandomAffine",
    "RandomFlip",
    "RandomShift",
    "SegmentationDataModule",
    "SegmentationFolder",
    "SeriesCSV",
    "SeriesDataModule",
    "SeriesFolder",
    "Shapes",
    "Spirals",
    "SpokenDigits",
    "StreamedImages",
    "TableCSV",
    "TableDataModule",
    "TextDataModule",
    "TextFiles",
    "Wine",
]
