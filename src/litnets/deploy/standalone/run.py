"""Predict with model.onnx, which is beside this file. Needs numpy and onnxruntime, for images also pillow.

python run.py FILE...       print the prediction for each input in the files; see reading.py for the formats
python run.py --selftest    compare the predictions for the samples in golden.npz with those of the trained network
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import reading

HERE = Path(__file__).parent
SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
ABOUT = json.loads(SESSION.get_modelmeta().custom_metadata_map["litnets"])


def predict(*inputs: Any) -> dict[str, Any]:
    """Return the outputs by name for a batch of raw inputs; for sequences, pass their lengths as well."""
    outputs = SESSION.run(None, {one.name: value for one, value in zip(SESSION.get_inputs(), inputs, strict=True)})
    return {one.name: value for one, value in zip(SESSION.get_outputs(), outputs, strict=True)}


def predict_one(sample: Any) -> dict[str, Any]:
    """Return the outputs by name for one raw input."""
    lengths = [np.array([len(sample)])] if len(SESSION.get_inputs()) > 1 else []
    return {name: values[0] for name, values in predict(sample[None], *lengths).items()}


def to_text(outputs: dict[str, Any]) -> str:
    """Return a prediction as it is printed."""
    prediction, names = outputs["prediction"], ABOUT["class_names"]
    if "probability" not in outputs:
        return json.dumps(prediction.astype(str).astype(float).tolist())  # without digits beyond float32
    if prediction.ndim:  # labels, of which a sample can have several
        probabilities = zip(names, outputs["probability"].tolist(), strict=True)
        return ", ".join(f"{name} ({value:.4f})" for name, value in probabilities if value > 0.5) or "no label"
    return f"{names[prediction]} ({outputs['probability'][prediction]:.4f})"


def selftest() -> str | None:
    """Compare the predictions for all golden samples, together and one by one; return an error, or None."""
    golden = dict(np.load(HERE / "golden.npz"))
    inputs = [golden.pop(one.name) for one in SESSION.get_inputs()]
    singles = [predict(*(value[i : i + 1] for value in inputs)) for i in range(len(inputs[0]))]
    for name, expected in golden.items():
        for actual in (predict(*inputs)[name], np.concatenate([single[name] for single in singles])):
            if expected.dtype != bool and not np.allclose(actual, expected, rtol=1e-3, atol=1e-3):
                return f"selftest failed: {name} differs by up to {np.abs(actual - expected).max():g}"
    print(f"selftest passed: {len(inputs[0])} samples")
    return None


def predict_file(path: str) -> None:
    """Print the prediction for each input in a file."""
    for name, sample in reading.read(path, ABOUT):
        if "overlap" in ABOUT["reading"]:  # the class of each pixel of an image of any size
            from tiles import save_mask, segment

            print(name, save_mask(path, segment(sample, ABOUT["reading"], predict)), sep="\t")
        else:
            print(name, to_text(predict_one(sample)), sep="\t")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    if sys.argv[1] == "--selftest":
        sys.exit(selftest())
    for path in sys.argv[1:]:
        try:
            predict_file(path)
        except (OSError, EOFError, ValueError, csv.Error) as error:  # ValueError: also a text that is not UTF-8
            sys.exit(f"{path}: {error}")
