import pytest
import torch
from torch import nn

from litnets.analysis.explain.answers import choose_answer
from litnets.errors import InputError
from litnets.tasks import Classifier, Forecaster, Regressor, Segmenter

NET = nn.Identity()


def test_the_predicted_class_or_the_target_is_explained() -> None:
    classifier = Classifier(NET, num_classes=3, class_names=["cat", "dog", "owl"])
    outputs = torch.tensor([[0.1, 2.0, 0.3]])
    answer = choose_answer(classifier, outputs)
    assert (answer.name, answer.weights.tolist()) == ("dog", [[0, 1, 0]])
    assert choose_answer(classifier, outputs, "owl").weights.tolist() == [[0, 0, 1]]
    with pytest.raises(
        InputError, match=r"--target: no class 'dgo'; did you mean 'dog'\? \(choose from: cat, dog, owl\)"
    ):
        choose_answer(classifier, outputs, "dgo")
    with pytest.raises(InputError, match="--step 2: only forecasts have steps"):
        choose_answer(classifier, outputs, step=2)


def test_a_single_logit_counts_for_one_class_and_against_the_other() -> None:
    binary = Classifier(NET, num_classes=2, class_names=["no", "yes"], loss="BCEWithLogitsLoss")
    assert choose_answer(binary, torch.tensor([[3.0]])) == ("yes", torch.tensor([[1.0]]), 0)
    assert choose_answer(binary, torch.tensor([[-3.0]])) == ("no", torch.tensor([[-1.0]]), 0)


def test_values_are_in_the_units_of_the_data() -> None:
    names, std, mean = ["price", "size"], [2.0, 5.0], [100.0, 7.0]
    regressor = Regressor(NET, num_targets=2, target_names=names, target_std=std, target_mean=mean)
    outputs = torch.tensor([[3.0, 4.0]])
    for name, value in zip(names, regressor.predict_step((outputs, None), 0)["prediction"][0], strict=True):
        answer = choose_answer(regressor, outputs, name)
        assert answer.name == name
        assert (outputs * answer.weights).sum() + answer.constant == value
    assert choose_answer(regressor, outputs).name == "price"


def test_one_step_of_one_channel_is_explained() -> None:
    forecaster = Forecaster(
        NET, horizon=3, channel_names=["load", "wind"], channel_std=[1.0, 4.0], channel_mean=[0.0, 9.0]
    )
    name, weights, constant = choose_answer(forecaster, torch.zeros(1, 3, 2), "wind", step=2)
    assert (name, constant) == ("wind, step 2", 9)
    assert weights.nonzero().tolist() == [[0, 1, 1]]
    assert weights.max() == 4
    with pytest.raises(InputError, match="--step: expected 1 to 3, got 4"):
        choose_answer(forecaster, torch.zeros(1, 3, 2), step=4)


def test_the_pixels_of_the_second_most_frequent_class_are_explained() -> None:
    segmenter = Segmenter(NET, num_classes=3, ignore_index=255, class_names=["ground", "road", "tree"])
    mask = torch.tensor([[[0, 0, 0], [0, 2, 2]]])
    outputs = nn.functional.one_hot(mask, 3).movedim(3, 1).float()
    name, weights, _ = choose_answer(segmenter, outputs)
    assert name == "tree"
    assert torch.equal(weights[:, 2], (mask == 2).float())
    assert not weights[:, :2].any()
    assert choose_answer(segmenter, outputs, "road").weights[0, 1].min() == 1  # predicted nowhere
    assert choose_answer(segmenter, outputs[..., :1]).name == "ground"
