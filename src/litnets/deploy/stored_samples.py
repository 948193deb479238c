"""The inputs in a run's inputs.parquet as raw inputs of its network."""

from litnets.analysis.decode_stored import decode_stored
from litnets.analysis.predictor import Predictor
from litnets.data.core.new_samples import Split
from litnets.runs.stored_inputs import load_inputs


def read_stored(predictor: Predictor) -> Split | None:
    """Return the recorded inputs of a run; None if it has none."""
    run = predictor.run
    if run is None or not run.inputs.exists():
        return None
    stored = [one for one in load_inputs(run.inputs) if one.kind not in ("mask", "predicted_mask")]
    datamodule = predictor.datamodule
    return datamodule.read_inputs([decode_stored(one, datamodule) for one in stored]) if stored else None
