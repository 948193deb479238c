"""What all LightningDataModules of this project share: splits in memory, loaders, statistics."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from litnets.data.augment import Augmentation
from litnets.data.batches import (
    ArrayDataset,
    BatchLoader,
    EpochSampler,
    Inputs,
    RaggedDataset,
    TensorBatchSampler,
    gather,
    whole_batch,
)
from litnets.data.folders import names_in, new_files, read_all
from litnets.data.image_files import SUFFIXES, ImageFiles
from litnets.errors import InputError
from litnets.seeding import global_seed, seed_batch

Split = ArrayDataset | RaggedDataset
Loader = DataLoader[tuple[Inputs, Tensor]]


class ArrayDataModule(LightningDataModule):
    """Data that fit in memory: `load` gives the splits, the rest is done here.

    A subclass states the facts that a model may need, as attributes or properties; the command links each into the
    model's argument of that name (`litnets.cli.FACTS`):

    - `input_shape` of one input: `(channels, height, width)` of an image, `(steps, features)` of a sequence,
      `(features,)` of a row of a table; None for a size that differs from sample to sample, so `(None,)` are tokens.
    - `vocab_size`: number of tokens, 0 being the padding.
    - `num_classes`, `class_names`: where a target is a class, or, with `multilabel`, one flag for each class.
    - `class_counts`, `class_shares`: samples of each class that are trained on, and how often each is met.
    - `num_targets`, `target_names`, `target_mean`, `target_std`: where a target is numbers, in their own units; mean
      and standard deviation of each, from the training split.
    - `horizon`, `channel_names`, `channel_mean`, `channel_std`: where a target is what comes next, `(horizon,
      channels)`, scaled by the training split's mean and standard deviation of each channel.

    One that knows how to read new samples takes a `predict_path` and has a `load_new`: `predict` then reads them
    instead of the test split, scaled and encoded as in the training, whose files need not be there.

    Args:
        batch_size: Samples in a training batch, on each device.
        eval_batch_size: Samples in a batch where nothing is learnt.
        num_workers: Processes that cut batches; with data in memory 0 is the fastest.
        drop_last: Leave out the last training batch of an epoch if it is not full.

    Raises:
        InputError: Sizes that are none, or fewer training samples than a full batch where only full ones count.
    """

    input_shape: tuple[int | None, ...]
    num_classes: int | None = None

    group_by_length = True  # whether a training batch holds sequences of like length

    # New samples to predict, and their names (of files), if they have some, once they have been read.
    predict_path: Path | None = None
    sample_names: list[str] | None = None

    # Each process takes its own samples by itself, so Lightning must not do it a second time.
    shards_itself: ClassVar[bool] = True

    def __init__(
        self, batch_size: int = 128, eval_batch_size: int = 1024, num_workers: int = 0, drop_last: bool = False
    ) -> None:
        super().__init__()
        for name, size, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if size < least:
                raise InputError(f"{name}: expected at least {least}, got {size}")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.drop_last = num_workers, drop_last
        self.splits: dict[str, Split] = {}
        self._start = (0, 0)

    @abstractmethod
    def load(self) -> Mapping[str, Split]:
        """The splits `train`, `val` and `test`, disjoint; called once in each process, after `prepare_data`."""

    def load_new(self, path: Path) -> Split:
        """The new samples at `predict_path`, in their order; their targets are of no meaning."""
        raise NotImplementedError(f"{type(self).__name__} has no predict_path")

    def fetch(self) -> None:
        """Download what `load` reads, if it is not there."""

    def prepare_data(self) -> None:
        predicting = self.trainer is not None and self.trainer.predicting
        if not (predicting and self.predict_path is not None):  # what is new needs no files of the training
            self.fetch()

    def setup(self, stage: str | None = None) -> None:
        if not self.splits and not (stage == "predict" and self.predict_path is not None):
            splits = dict(self.load())
            if self.drop_last and len(splits["train"]) < self.batch_size:
                raise InputError(
                    f"drop_last: the {len(splits['train'])} training samples do not fill a batch of {self.batch_size}, "
                    "and nothing would be trained; give a smaller --data.batch_size"
                )
            self.splits = splits

    def be_ready(self) -> None:
        """Read the splits, if they have not been, for what is known only then."""
        if not self.splits:
            self.prepare_data()
            self.setup()

    @property
    def class_counts(self) -> list[int] | None:
        """Training samples of each class, or of each flag that is set; None where there are no classes."""
        if self.num_classes is None:
            return None
        self.be_ready()
        train = self.splits["train"]
        targets = train.targets[train.indices].long()
        counts = targets.sum(0) if targets.ndim > 1 else targets.bincount(minlength=self.num_classes)
        return counts.tolist()

    @property
    def class_shares(self) -> list[float] | None:
        """How often each class (or flag) is met, as a share of the training split; None where there are no classes. It
        says other than `class_counts` where not all of that split is trained on."""
        counts = self.class_counts
        return None if counts is None else [count / sum(counts) for count in counts]

    def train_dataloader(self) -> Loader:
        # To overfit some batches they must be the same ones in every epoch.
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self._loader("train", shuffle=not overfit)

    def val_dataloader(self) -> Loader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> Loader:
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> Loader:
        # Lightning makes a prediction loader anew, to keep the indices, and for that wants torch's own BatchSampler.
        if self.predict_path is None:
            dataset = self.splits["test"]
        else:
            # Lightning asks for the loader in inference mode, whose tensors a thread that reads files may not write to.
            with torch.inference_mode(False):
                dataset = self.load_new(self.predict_path)
        few = len(dataset) < self._process()[1]
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            # Where not each process has a sample, all read all: one without a batch would leave the others waiting.
            sampler=EpochSampler(len(dataset), False) if few else self._sampler(dataset, shuffle=False),
            collate_fn=whole_batch,
            **self._workers(),
        )

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the next training loader begin with this batch of this epoch, both from 0: a run goes on there."""
        self._start = epoch, batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        # What augments the batch on the device comes next, and Lightning calls nothing else of ours before it.
        if self.trainer is not None and self.trainer.training:
            loop = self.trainer.fit_loop
            done = loop.epoch_loop.batch_progress.current.ready
            seed_batch(self.trainer.current_epoch, done, self.trainer.global_rank, part=0)
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if device.type == "cpu":
            return batch  # it is there: Lightning would go through all of its parts to find that out
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _loader(self, split: str, shuffle: bool) -> Loader:
        training = split == "train"
        dataset = self.splits[split]
        processes = self._process()[1]
        if 0 < len(dataset) < processes:
            raise InputError(
                f"{split}: each of {processes} processes needs a sample, and there are {len(dataset)}; "
                "give fewer --trainer.devices"
            )
        grouped = self.group_by_length or not training  # where nothing is learnt the neighbours do not matter
        batches = TensorBatchSampler(
            self._sampler(dataset, shuffle),
            self.batch_size if training else self.eval_batch_size,
            drop_last=training and self.drop_last,
            lengths=dataset.split_lengths if grouped and isinstance(dataset, RaggedDataset) else None,
            start=self._start if training else (0, 0),
        )
        return BatchLoader(dataset, batch_sampler=batches, collate_fn=whole_batch, **self._workers())

    def _sampler(self, dataset: Split, shuffle: bool) -> EpochSampler:
        return EpochSampler(len(dataset), shuffle, global_seed(), *self._process())

    def _process(self) -> tuple[int, int]:
        """Index of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _workers(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}


class ImageDataModule(ArrayDataModule):
    """Images in memory as uint8 `(samples, channels, height, width)`: augmented and normalised as a batch on the
    device, by the mean and standard deviation of each channel of the training split.

    Args:
        augment: Augmentations of a training batch, in their order.
        skip_broken: Leave out files of images that cannot be read, and say which, instead of stopping.
        predict_path: New images for `predict`: a folder of them, at any depth, or a single one; no classes are needed,
            and the files of the training are not read then. Each is turned upright as its camera noted, laid on white
            where it is transparent, cropped around its centre to the shape of those of the training, resized, and made
            grey or coloured as they are. Nothing else is changed: in Digits, MNIST and FashionMNIST what is shown is
            light on black.
        batch_size: See `ArrayDataModule`, as for the rest.
    """

    white: ClassVar[int] = 255  # the value of it
    memory_budget: float = 2.0  # gigabytes (10^9 bytes) that images from files may take in memory

    def __init__(
        self,
        augment: list[Augmentation] | None = None,
        skip_broken: bool = False,
        predict_path: str | None = None,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.augment, self.skip_broken = augment or [], skip_broken
        self.predict_path = None if predict_path is None else Path(predict_path)
        # Mean and deviation of each channel as tensors, which take longer to make than to use, behind what they are of.
        self._scaling: tuple[Any, Tensor, Tensor] | None = None

    # Read from the data when they are needed first: where a checkpoint gives them, or nothing is trained, never.
    @cached_property
    def mean(self) -> list[float]:
        return self._statistics[0]

    @cached_property
    def std(self) -> list[float]:
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training split."""
        self.be_ready()
        train = self.splits["train"]
        assert isinstance(train, ArrayDataset)
        return channel_statistics(train.inputs, train.indices)

    def load_new(self, path: Path) -> ArrayDataset:
        if "mean" not in vars(self):  # no checkpoint
            self.be_ready()
        files = new_files(path, SUFFIXES, "image")
        inputs, broken, _ = self.read_files(files)
        found = torch.nonzero(~broken).squeeze(1)
        self.sample_names = names_in(path, [files[i] for i in found.tolist()])
        return ArrayDataset(inputs, torch.zeros(len(files), dtype=torch.uint8), found)

    def read_files(self, files: list[Path]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The images, in memory if they fit; a flag for each that is broken, `(files,)`; and, if they do not fit, mean
        and mean square of each one's channels, `(files, 2, channels)`."""
        images = ImageFiles(files, cast(tuple[int, int, int], self.input_shape), self.white)
        fits = images.num_bytes <= self.memory_budget * 1e9
        kept = torch.empty(images.shape if fits else (0,), dtype=torch.uint8)
        moments = torch.zeros(len(files), 2, images.shape[1], dtype=torch.float64)

        def read(index: int) -> None:
            image = images.read(index)
            if fits:
                kept[index] = image
            else:
                values = image.flatten(1).double()
                moments[index] = torch.stack([values.mean(1), values.square().mean(1)])

        _, broken = read_all(files, read, self.skip_broken, "image")
        # ImageFiles is indexed like a tensor, and an ArrayDataset asks no more of it.
        return (kept, broken, None) if fits else (cast(Tensor, images), broken, moments)

    def state_dict(self) -> dict[str, Any]:
        """The statistics, so that a checkpoint's network sees inputs as it saw them in training."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mean, self.std = state_dict["mean"], state_dict["std"]

    def normalize(self, images: Tensor) -> Tensor:
        """Raw images `(N, C, H, W)` as the network wants them."""
        made_of = (*self.mean, *self.std, images.device)
        if self._scaling is None or self._scaling[0] != made_of:
            with torch.inference_mode(False):  # so that they may be used anywhere later
                mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (self.mean, self.std))
            self._scaling = made_of, mean, std
        _, mean, std = self._scaling
        return images.to(mean.dtype, copy=True).sub_(mean).div_(std)  # one new tensor instead of two

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, targets = batch
        if self.trainer is not None and self.trainer.training:
            for augmentation in self.augment:
                augmentation.epoch = self.trainer.current_epoch
                images = augmentation(images)
        return self.normalize(images), targets.long()


def check_new_shape(module: ArrayDataModule, state_dict: Mapping[str, Any]) -> None:
    """Raises InputError if new samples would not have the shape that the checkpoint's network was built for."""
    trained: Sequence[int | None] = state_dict.get("input_shape", module.input_shape)
    if module.predict_path is not None and tuple(trained) != tuple(module.input_shape):
        raise InputError(
            f"the checkpoint was trained on inputs of shape {tuple(trained)}, and these options of "
            f"{type(module).__name__} make {tuple(module.input_shape)}; leave them as they are in the run's config.yaml"
        )


def channel_statistics(images: Tensor, indices: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the chosen uint8 images, exact.

    A channel that is constant gets the standard deviation 1, so that it becomes zero and not infinite.
    """
    sums, squares = torch.zeros(2, images.shape[1], dtype=torch.float64)
    pixels = math.prod(images.shape[2:])
    # So few values at a time that they stay in the processor's cache; in the order in which they lie on a disk.
    for chunk in indices.sort().values.split(max(1, 2**18 // (images.shape[1] * pixels))):
        values = (
            gather(images, chunk).flatten(2).double()
        )  # (N, C, pixels); whole numbers, of which float64 holds all below 2^53
        sums += values.sum((0, 2))
        squares += values.square_().sum((0, 2))
    count = len(indices) * pixels
    totals = [(int(total), int(square)) for total, square in zip(sums, squares, strict=True)]
    mean = [total / count for total, _ in totals]
    # Python's whole numbers lose nothing where the mean is large and the deviation small.
    std = [math.sqrt((count * square - total**2) / count**2) or 1.0 for total, square in totals]
    return mean, std
