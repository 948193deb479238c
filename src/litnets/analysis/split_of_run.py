"""The samples of a run's splits, read again as in training."""

from litnets.analysis.predictor import Predictor
from litnets.data.core.new_samples import Split
from litnets.data.core.split_record import SplitRecord


def read_split(predictor: Predictor, part: str) -> Split:
    """Return the samples of a split of the predictor's run, and their targets.

    Args:
        predictor: The network of a run. Its DataModule then holds the splits.
        part: train, val or test.

    Raises:
        InputError: The data are missing, or cannot be read again because they were in memory.
    """
    datamodule, run = predictor.datamodule, predictor.run
    if not datamodule.splits:
        datamodule.predict_path = None  # which stands for new samples, that need no splits
        if run is not None and run.split.exists():
            record = SplitRecord.load(run.split)
            record.check_spec(datamodule.split_spec)
            datamodule.recorded_split = record
        datamodule.ensure_setup()
    return datamodule.splits[part]
