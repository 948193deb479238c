import pytest

from litnets.cli.preflight import check_targets
from litnets.data import Digits
from litnets.errors import InputError
from litnets.tasks import CNNClassifier, UNetSegmenter


def test_masks_are_refused_by_a_task_that_does_not_predict_them(monkeypatch):
    """A Classifier can be constructed for masks, because masks have classes as well."""
    model = CNNClassifier((1, 8, 8), num_classes=10)
    check_targets(model, Digits())
    check_targets(model, None)
    monkeypatch.setattr(Digits, "ignore_index", 255, raising=False)
    check_targets(UNetSegmenter((1, 8, 8), num_classes=10, ignore_index=255), Digits())
    message = "CNNClassifier predicts classes, but the targets of the data are masks: use UNetSegmenter for masks"
    with pytest.raises(InputError, match=f"^{message}$"):
        check_targets(model, Digits())
