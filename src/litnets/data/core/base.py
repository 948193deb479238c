"""Base classes of the DataModules: splits in memory, dataloaders, and the facts that a model needs."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader

from litnets.data.core.batching import (
    BatchLoader,
    EpochSampler,
    Inputs,
    RaggedDataset,
    TensorBatchSampler,
    identity_collate,
)
from litnets.data.core.class_folders import report_absent_classes
from litnets.data.core.data_card import DescribesData
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.in_memory import RecordsArguments
from litnets.data.core.new_samples import NewSamples, Split
from litnets.data.core.sample_columns import Columns, sources_of, sources_of_new, targets_of
from litnets.data.core.split_record import DataChanges, SplitRecord
from litnets.data.core.splits import PARTS, SplitSpec
from litnets.errors import InputError
from litnets.internals import restricted_classmethod
from litnets.safety.checkpoint_file import (
    build_from_checkpoint,
    check_model_part,
    read_checkpoint,
    refuse_unsafe_loading,
)
from litnets.safety.plain import load_yaml
from litnets.seeding import global_seed, seed_batch

# Attributes of a DataModule that the command line passes to the model's argument of the same name, if it has one.
LINKED_ATTRIBUTES = (
    "input_shape",
    "vocab_size",
    "num_classes",
    "class_names",
    "class_counts",
    "class_shares",
    "multilabel",
    "ignore_index",
    "num_targets",
    "target_names",
    "target_mean",
    "target_std",
    "horizon",
    "channel_names",
    "channel_mean",
    "channel_std",
)

Loader = DataLoader[tuple[Inputs, Tensor]]


class ArrayDataModule(RecordsArguments, DescribesData, NewSamples):
    """Base class for data in memory. A subclass implements `load`, which returns the splits.

        class RandomData(ArrayDataModule):
            input_shape, num_classes, class_names = (4,), 2, ["no", "yes"]

            def load(self):
                inputs, targets = torch.randn(100, 4), torch.randint(2, (100,))
                parts = zip(("train", "val", "test"), torch.arange(100).split([80, 10, 10]))
                return {part: ArrayDataset(inputs, targets, indices) for part, indices in parts}

    A subclass defines what a model needs to know about the data, as attributes or properties. The command line passes
    each of them to the model's argument of the same name (`LINKED_ATTRIBUTES`):

    - `input_shape`: shape of one input, such as `(channels, height, width)` for an image, `(steps, features)` for a
      sequence or `(features,)` for a row of a table. None stands for a size that varies: `(None,)` for tokens.
    - `vocab_size`: number of tokens. Token 0 is the padding.
    - `num_classes`, `class_names`: for classification. With `multilabel`, a sample can belong to several classes.
    - `class_counts`, `class_shares`: number of training samples of each class, and its frequency.
    - `ignore_index`: for segmentation, the class of the pixels that do not count. A target is then a mask with the
      class of each pixel, and `class_counts` are numbers of pixels.
    - `num_targets`, `target_names`, `target_mean`, `target_std`: for regression. Mean and standard deviation of each
      target on the training split, in its original unit.
    - `horizon`, `channel_names`, `channel_mean`, `channel_std`: for forecasting, where a target is the next steps,
      `(horizon, channels)`, scaled by the mean and standard deviation of each channel on the training split.
    - `channel_mean`, `channel_std`: for images, the mean and standard deviation that normalize each channel, on a scale
      where black is 0 and white is 1. Networks with pretrained weights need them.

    A subclass that can read new samples takes a `predict_path` and implements `load_predict`. `predict` then reads
    these samples instead of the test split and scales and encodes them as in training. It does not need the training
    files. `read_inputs` does the same for files, arrays and tables that are passed to `litnets.load(run).predict`.

    A subclass that scales or encodes its batches defines `preparation`, and calls `prepare` in
    `on_after_batch_transfer`.

    A report shows inputs as `raw_input` returns them, and slices the results by `slice_values`; see `DescribesData`.

    Args:
        batch_size: Samples in a training batch, on each device.
        eval_batch_size: Batch size for validation, test and prediction.
        num_workers: Number of DataLoader workers. 0 is fastest for data in memory.
        drop_last: Drop the last training batch of an epoch if it is not full.

    Raises:
        InputError: A size is too small, or `drop_last` is set and the training split does not fill one batch.
    """

    input_shape: tuple[int | None, ...]
    num_classes: int | None = None

    group_by_length = True  # whether a training batch holds sequences of similar length

    # How samples are split; None if the data come with fixed splits.
    split_spec: SplitSpec | None = None

    # `recorded_split` is the split of the run whose checkpoint is used, and is set before the data are read. Reading
    # the data sets `data_changes` (their differences from the data of that run) and `split_record` (their split).
    recorded_split: SplitRecord | None = None
    data_changes: DataChanges | None = None
    split_record: SplitRecord | None = None

    # The samplers of this class already distribute the samples over the processes, so Lightning must not do it again.
    shards_itself: ClassVar[bool] = True

    def __init__(
        self, batch_size: int = 128, eval_batch_size: int = 1024, num_workers: int = 0, drop_last: bool = False
    ) -> None:
        super().__init__()
        for name, size, minimum in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if size < minimum:
                raise InputError(f"{name}: expected at least {minimum}, got {size}")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.drop_last = drop_last
        self.splits: dict[str, Split] = {}
        self.predicted: Split | None = None  # the samples of the last prediction
        self.predicted_columns: Columns = {}  # what identifies them; see `sample_columns`
        # All samples, and the indices of each split.
        self._split_samples: tuple[Fingerprint, dict[str, Tensor]] | None = None
        self._start = (0, 0)
        self._preparation: tuple[torch.device, nn.Module] | None = None  # see `prepare`

    @restricted_classmethod  # Lightning's, which raises an error where it is called on an instance
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        weights_only: bool | None = None,
        trust: Iterable[str] = (),
        **kwargs: Any,
    ) -> Self:
        """Return the data of a checkpoint, with what was fitted on its training split.

        No code that the checkpoint holds or names is run. See `litnets.tasks.Task.load_from_checkpoint` for the
        arguments; `kwargs` are those of this class.

        Raises:
            InputError: The checkpoint is incomplete or does not fit this class.
        """
        refuse_unsafe_loading(weights_only)
        content = read_checkpoint(checkpoint_path, map_location)
        check_model_part(checkpoint_path, content)
        hyperparameters = content.get("datamodule_hyper_parameters", {})
        if hparams_file is not None:
            hyperparameters = load_yaml(str(hparams_file), Path(hparams_file).read_text(encoding="utf-8"))
        datamodule = build_from_checkpoint(cls, checkpoint_path, hyperparameters, kwargs, trust)
        if (state := content.get(type(datamodule).__qualname__)) is not None:
            datamodule.load_state_dict(state)
        return datamodule

    @abstractmethod
    def load(self) -> Mapping[str, Split]:
        """Return the disjoint splits `train`, `val` and `test`. Called once per process, after `prepare_data`."""

    def assign_splits(
        self,
        samples: Fingerprint,
        propose: Callable[[], Sequence[Tensor]],
        fixed: Tensor | None = None,
        usable: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the indices of each split. Samples of a recorded split keep their split.

        Args:
            samples: Fingerprint of the samples that were read.
            propose: Returns the indices of train, val and test for a new run.
            fixed: Index of the split of each sample whose folder or file determines it, -1 for the others.
            usable: Mask of the samples that may be used, `(samples,)`. The others are in no split. None for all.

        Raises:
            InputError: No sample belongs to the recorded split.
        """
        if self.recorded_split is None:
            splits = dict(zip(PARTS, propose(), strict=True))
        else:
            splits, self.data_changes = self.recorded_split.match(samples, fixed)
        if usable is not None:
            splits = {part: indices[usable[indices]] for part, indices in splits.items()}
        self.split_record = SplitRecord.create(type(self).__name__, self.split_spec, samples, splits)
        self._split_samples = samples, splits
        return splits

    def sample_columns(self) -> Columns:
        """Return the columns of predictions.csv that identify the predicted samples: their file or row, those of
        `carried_columns`, and the target of the test split."""
        samples = self.predicted
        if samples is None:
            return {}
        if self.predict_path is not None:
            return {**sources_of_new(self.sample_names, len(samples)), **self.carried_columns()}
        columns = self.split_columns("test", torch.arange(len(samples)))
        names = getattr(self, "class_names", None), getattr(self, "target_names", None)
        if not hasattr(samples, "targets"):  # samples that are read in batches, from a file or an object store
            return columns
        return {**columns, **targets_of(samples.targets[samples.indices], *names)}

    def split_columns(self, part: str, positions: Tensor) -> Columns:
        """Return the columns that identify samples of a split: their file or row, and those of `carried_columns`.

        Args:
            part: train, val or test.
            positions: Positions of the samples in the split.
        """
        columns: Columns = {}
        if self._split_samples is not None:
            fingerprint, splits = self._split_samples
            if len(splits[part]) == len(self.splits[part]):
                columns = sources_of(fingerprint, splits[part][positions])
        chosen = positions.tolist()
        return {**columns, **{name: [cells[i] for i in chosen] for name, cells in self.carried_columns(part).items()}}

    def preparation(self) -> nn.Module:
        """Return the module that turns the inputs of a batch, as they are read, into the inputs of the network.

        It holds what was fitted on the training split, and tensor arithmetic only: no files and no augmentation.
        """
        return nn.Identity()

    def prepare(self, inputs: Any) -> Any:
        """Return the inputs of a batch, as they are read, as inputs of the network, on the same device."""
        device = inputs.device if isinstance(inputs, Tensor) else inputs[0].device
        if self._preparation is None or self._preparation[0] != device:  # building the module takes longer than its use
            with torch.inference_mode(False):  # inference tensors could not be used in training later
                self._preparation = device, self.preparation().to(device)
        return self._preparation[1](inputs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was fitted on the training split. A subclass calls this, then restores its own state."""
        self._preparation = None

    def download(self) -> None:
        """Download the files that `load` reads, if they do not exist."""

    def prepare_data(self) -> None:
        predicting = self.trainer is not None and self.trainer.predicting
        if not self._reads_new_samples("predict" if predicting else None):
            self.download()

    def setup(self, stage: str | None = None) -> None:
        if not self.splits and not self._reads_new_samples(stage):
            splits = dict(self.load())
            if self.drop_last and len(splits["train"]) < self.batch_size:
                raise InputError(
                    f"drop_last: the {len(splits['train'])} training samples do not fill a batch of {self.batch_size}, "
                    "so no batch would be left to train on; reduce --data.batch_size"
                )
            self.splits = splits

    def ensure_setup(self) -> None:
        """Prepare and load the splits, unless that has been done."""
        if not self.splits:
            self.prepare_data()
            self.setup()

    @property
    def class_counts(self) -> list[int] | None:
        """Number of training samples of each class; None if there are no classes."""
        if self.num_classes is None:
            return None
        self.ensure_setup()
        return self.count_classes(self.splits["train"], self.num_classes)

    def count_classes(self, split: Split, num_classes: int) -> list[int]:
        """Return the number of samples of each class in a split."""
        targets = split.targets[split.indices].long()
        counts = targets.sum(0) if targets.ndim > 1 else targets.bincount(minlength=num_classes)
        return counts.tolist()

    @property
    def class_shares(self) -> list[float] | None:
        """Fraction of the training split that belongs to each class; None if there are no classes.

        A subclass that trains on only part of the split overrides this, since `class_counts` counts only that part.
        """
        counts = self.class_counts
        return None if counts is None else [count / sum(counts) for count in counts]

    def train_dataloader(self) -> Loader:
        # Overfitting a few batches needs the same batches in every epoch.
        overfit = self.trainer is not None and self.trainer.overfit_batches > 0  # type: ignore[attr-defined]
        return self._loader("train", shuffle=not overfit)

    def val_dataloader(self) -> Loader:
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> Loader:
        if self.labeled_path is not None:
            # Lightning calls this in inference mode, but threads that read files cannot write to inference tensors.
            with torch.inference_mode(False):
                self.splits = {"test": self.load_labeled(self.labeled_path)}
            if self.trained_classes is not None:
                counts = self.count_classes(self.splits["test"], len(self.trained_classes))
                rank_zero_only(report_absent_classes)(counts, self.trained_classes)
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> Loader:
        # Lightning rebuilds a prediction loader to record the indices, which only works with torch's BatchSampler.
        if self.predict_path is None:
            dataset = self.test_for_prediction()
        else:
            # Lightning calls this in inference mode, but threads that read files cannot write to inference tensors.
            with torch.inference_mode(False):
                dataset = self.load_predict(self.predict_path)
        self.predicted = dataset
        self.predicted_columns = self.sample_columns()
        # With fewer samples than processes, each process reads all samples, because a process without a batch would
        # block the others.
        read_all = len(dataset) < self._process()[1]
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            sampler=EpochSampler(len(dataset), False) if read_all else self._sampler(dataset, shuffle=False),
            collate_fn=identity_collate,
            **self._workers(),
        )

    def test_for_prediction(self) -> Split:
        """Return the samples that are predicted if there is no `predict_path`: the test split."""
        return self.splits["test"]

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the next training dataloader start at this epoch and batch, both counted from 0, to resume a run."""
        self._start = epoch, batch

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        # This is the last hook before the batch is augmented on the device, so seed the augmentation here.
        if self.trainer is not None and self.trainer.training:
            loop = self.trainer.fit_loop
            batches_done = loop.epoch_loop.batch_progress.current.ready
            seed_batch(self.trainer.current_epoch, batches_done, self.trainer.global_rank, part=0)
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if device.type == "cpu":
            return batch  # nothing to move, and Lightning would traverse the batch to find that out
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _loader(self, split: str, shuffle: bool) -> Loader:
        training = split == "train"
        dataset = self.splits[split]
        processes = self._process()[1]
        if 0 < len(dataset) < processes:
            raise InputError(
                f"{split}: each of {processes} processes needs at least one sample, but there are {len(dataset)}; "
                "reduce --trainer.devices"
            )
        grouped = self.group_by_length or not training  # in evaluation, the composition of a batch does not matter
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
        """Return the rank of this process and the number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _workers(self) -> dict[str, Any]:
        if not self.num_workers:  # Lightning recommends workers, but without them batches of data in memory are faster
            warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}


class ValSplitDataModule(ArrayDataModule):
    """Base class for data with an official test split; the other samples are split into training and validation.

    Args:
        val_size: Size of the validation split: a fraction in [0, 1), or a number of samples.
        split_seed: Seed of the split, independent of the seed of the run.
        num_folds: Number of folds for cross-validation. The held-out fold is the test split or, if the data come with a
            test split, the validation split. Default: no cross-validation.
        fold: Index of the held-out fold, from 0.
        **loading: Arguments of `ArrayDataModule`.
    """

    split_spec: SplitSpec

    def __init__(
        self, val_size: float = 0.1, split_seed: int = 0, num_folds: int | None = None, fold: int = 0, **loading: Any
    ) -> None:
        super().__init__(**loading)
        self.split_spec = SplitSpec(val_size, 0, split_seed, num_folds, fold)


class SplitDataModule(ValSplitDataModule):
    """Base class for data without official splits, which are split into training, validation and test.

    Args:
        val_size: Size of the validation split: a fraction in [0, 1), or a number of samples.
        test_size: Size of the test split: a fraction in [0, 1), or a number of samples.
        **splitting: Arguments of `ValSplitDataModule` and `ArrayDataModule`.
    """

    def __init__(self, val_size: float = 0.2, test_size: float = 0.2, **splitting: Any) -> None:
        super().__init__(val_size, **splitting)
        self.split_spec = replace(self.split_spec, test_size=test_size)
