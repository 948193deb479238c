"""What all LightningDataModules of this project share: splits in memory, loaders, statistics."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from litnets.data.core.batching import (
    ArrayDataset,
    BatchLoader,
    EpochSampler,
    Inputs,
    RaggedDataset,
    TensorBatchSampler,
    identity_collate,
)
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.split_record import DataChanges, SplitRecord
from litnets.data.core.splits import PARTS, SplitSpec
from litnets.errors import InputError
from litnets.seeding import global_seed, seed_batch

# Attributes of a DataModule that are linked into the model's argument of the same name, if it has one.
LINKED_ATTRIBUTES = (
    "input_shape",
    "vocab_size",
    "num_classes",
    "class_names",
    "class_counts",
    "class_shares",
    "multilabel",
    "num_targets",
    "target_names",
    "target_mean",
    "target_std",
    "horizon",
    "channel_names",
    "channel_mean",
    "channel_std",
)

Split = ArrayDataset | RaggedDataset
Loader = DataLoader[tuple[Inputs, Tensor]]


class ArrayDataModule(LightningDataModule):
    """Data that fit in memory: `load` gives the splits, the rest is done here.

    A subclass states the facts that a model may need, as attributes or properties; the command links each into the
    model's argument of that name (`LINKED_ATTRIBUTES`):

    - `input_shape` of one input: `(channels, height, width)` of an image, `(steps, features)` of a sequence,
      `(features,)` of a row of a table; None for a size that differs from sample to sample, so `(None,)` are tokens.
    - `vocab_size`: number of tokens, 0 being the padding.
    - `num_classes`, `class_names`: where a target is a class, or, with `multilabel`, one flag for each class.
    - `class_counts`, `class_shares`: samples of each class that are trained on, and how often each is met.
    - `num_targets`, `target_names`, `target_mean`, `target_std`: where a target is numbers, in their own units; mean
      and standard deviation of each, from the training split.
    - `horizon`, `channel_names`, `channel_mean`, `channel_std`: where a target is what comes next, `(horizon,
      channels)`, scaled by the training split's mean and standard deviation of each channel.

    One that knows how to read new samples takes a `predict_path` and has a `load_predict`: `predict` then reads them
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

    # How samples are to be split; None where the data come split.
    split_spec: SplitSpec | None = None

    # The split of the run whose checkpoint is used, which is set before the data are read; then what differs from it,
    # and the split of the data as they are.
    recorded_split: SplitRecord | None = None
    data_changes: DataChanges | None = None
    split_record: SplitRecord | None = None

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

    def assign_splits(
        self,
        samples: Fingerprint,
        propose: Callable[[], Sequence[Tensor]],
        given: Tensor | None = None,
        usable: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the indices of each split: those of the run, if one is recorded, for the samples that it had.

        Args:
            samples: The samples that were read.
            propose: Return the splits of a new run, train, val and test.
            given: The number of the split of each sample whose folder or file decides it, -1 for the others.
            usable: A flag for each sample; the others are in no split. None for all.

        Raises:
            InputError: None of the samples is one of the run.
        """
        if self.recorded_split is None:
            splits = dict(zip(PARTS, propose(), strict=True))
        else:
            splits, self.data_changes = self.recorded_split.match(samples, given)
        if usable is not None:
            splits = {part: indices[usable[indices]] for part, indices in splits.items()}
        self.split_record = SplitRecord.create(type(self).__name__, self.split_spec, samples, splits)
        return splits

    def load_predict(self, path: Path) -> Split:
        """The new samples at `predict_path`, in their order; their targets are of no meaning."""
        raise NotImplementedError(f"{type(self).__name__} has no predict_path")

    def download(self) -> None:
        """Download what `load` reads, if it is not there."""

    def prepare_data(self) -> None:
        predicting = self.trainer is not None and self.trainer.predicting
        if not (predicting and self.predict_path is not None):  # what is new needs no files of the training
            self.download()

    def setup(self, stage: str | None = None) -> None:
        if not self.splits and not (stage == "predict" and self.predict_path is not None):
            splits = dict(self.load())
            if self.drop_last and len(splits["train"]) < self.batch_size:
                raise InputError(
                    f"drop_last: the {len(splits['train'])} training samples do not fill a batch of {self.batch_size}, "
                    "and nothing would be trained; give a smaller --data.batch_size"
                )
            self.splits = splits

    def ensure_setup(self) -> None:
        """Read the splits, if they have not been, for what is known only then."""
        if not self.splits:
            self.prepare_data()
            self.setup()

    @property
    def class_counts(self) -> list[int] | None:
        """Training samples of each class, or of each flag that is set; None where there are no classes."""
        if self.num_classes is None:
            return None
        self.ensure_setup()
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
                dataset = self.load_predict(self.predict_path)
        few = len(dataset) < self._process()[1]
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            # Where not each process has a sample, all read all: one without a batch would leave the others waiting.
            sampler=EpochSampler(len(dataset), False) if few else self._sampler(dataset, shuffle=False),
            collate_fn=identity_collate,
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
        return BatchLoader(dataset, batch_sampler=batches, collate_fn=identity_collate, **self._workers())

    def _sampler(self, dataset: Split, shuffle: bool) -> EpochSampler:
        return EpochSampler(len(dataset), shuffle, global_seed(), *self._process())

    def _process(self) -> tuple[int, int]:
        """Index of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _workers(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}


class ValSplitDataModule(ArrayDataModule):
    """Data with a test split of their own, whose other samples are split into training and validation.

    Args:
        val_size: Validation split, a fraction or a number of samples.
        split_seed: Seed of the splits, apart from the seed of the training.
        num_folds: Cross-validation: the number of folds. The test split is then the fold, or the validation split where
            the test split is given.
        fold: The fold that is held out, from 0.
        **loading: Arguments of `ArrayDataModule`.
    """

    split_spec: SplitSpec

    def __init__(
        self, val_size: float = 0.1, split_seed: int = 0, num_folds: int | None = None, fold: int = 0, **loading: Any
    ) -> None:
        super().__init__(**loading)
        self.split_spec = SplitSpec(val_size, 0, split_seed, num_folds, fold)


class SplitDataModule(ValSplitDataModule):
    """Data that are split into training, validation and test.

    Args:
        val_size: Validation split, a fraction or a number of samples.
        test_size: Test split, likewise.
        **splitting: Arguments of `ValSplitDataModule` and `ArrayDataModule`.
    """

    def __init__(self, val_size: float = 0.2, test_size: float = 0.2, **splitting: Any) -> None:
        super().__init__(val_size, **splitting)
        self.split_spec = replace(self.split_spec, test_size=test_size)


def check_new_shape(module: ArrayDataModule, state_dict: Mapping[str, Any]) -> None:
    """Raises InputError if new samples would not have the shape that the checkpoint's network was built for."""
    trained: Sequence[int | None] = state_dict.get("input_shape", module.input_shape)
    if module.predict_path is not None and tuple(trained) != tuple(module.input_shape):
        raise InputError(
            f"the checkpoint was trained on inputs of shape {tuple(trained)}, and these options of "
            f"{type(module).__name__} make {tuple(module.input_shape)}; leave them as they are in the run's config.yaml"
        )
