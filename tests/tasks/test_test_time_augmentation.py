from pathlib import Path

import numpy as np
import pytest
import torch

from litnets.__main__ import main
from litnets.errors import InputError
from litnets.tasks import CNNClassifier, MLPClassifier, RNNClassifier
from litnets.tasks.test_time_augmentation import forward_tta
from litnets.training.resume import loop_state


def by_hand(model: CNNClassifier, image: np.ndarray, views: str) -> np.ndarray:
    """Return the logits of one image, computed view by view."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), "edge")
    h, w = image.shape[1:]
    crops = {"one": [(image, 1.0)], "mirror": [(image, 1.0)]}
    crops["mirror_shift"] = [(image, 0.5), (padded[:, :h, :w], 0.25), (padded[:, 2:, 2:], 0.25)]
    total = np.zeros(3)
    for crop, weight in crops[views]:
        ways = [crop] if views == "one" else [crop, crop[:, :, ::-1]]
        for way in ways:
            logits = model(torch.from_numpy(way.copy()).unsqueeze(0))[0]
            total += weight / len(ways) * logits.detach().double().numpy()
    return total


@pytest.mark.parametrize("views", ["one", "mirror", "mirror_shift"])
def test_the_logits_of_all_views_are_averaged(views: str) -> None:
    model = CNNClassifier(input_shape=(2, 8, 9), num_classes=3, widths=(4,), tta=views).eval()
    images = torch.randn(5, 2, 8, 9)
    expected = torch.from_numpy(np.stack([by_hand(model, image, views) for image in images.numpy()])).float()
    torch.testing.assert_close(forward_tta(model, images, views), expected, rtol=1e-4, atol=1e-5)
    predicted = model.predict_step((images, torch.zeros(5)), 0)
    torch.testing.assert_close(predicted["probability"], expected.softmax(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.test_step((images, torch.zeros(5, dtype=torch.long)), 0), predicted["probability"])


def test_views_are_averaged_in_test_and_prediction_but_not_in_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"validation": 0, "test": 0, "prediction": 0}
    forward = CNNClassifier.forward

    def counted(self: CNNClassifier, inputs: torch.Tensor) -> torch.Tensor:
        seen["validation"] += self.trainer.validating
        seen["test"] += self.trainer.testing
        seen["prediction"] += self.trainer.predicting
        return forward(self, inputs)

    monkeypatch.setattr(CNNClassifier, "forward", counted)
    options = ["--model", "CNNClassifier", "--model.widths", "[4]", "--data", "Digits", "--trainer.max_epochs", "1"]
    options += ["--trainer.num_sanity_val_steps", "0", "--model.tta", "mirror_shift"]
    options += ["--record_predictions", "false"]  # they need another pass over the validation split
    assert main(["fit", *options, "--trainer.logger", "false", "--data.eval_batch_size", "2000"]) == 0
    (config,) = Path("checkpoints").glob("*/*/config.yaml")
    assert main(["predict", "--config", str(config)]) == 0
    assert seen == {"validation": 1, "test": 6, "prediction": 6}


@pytest.mark.parametrize(("task", "shape"), [(MLPClassifier, (5,)), (RNNClassifier, (None, 5))])
def test_inputs_that_are_not_images_are_refused(task, shape) -> None:
    with pytest.raises(InputError, match=r"tta: mirror is for images .*, but one input of the data is \("):
        task(input_shape=shape, num_classes=3, tta="mirror")


def test_the_former_name_of_the_option_still_works() -> None:
    with pytest.warns(FutureWarning, match="^the option test_views is now called tta; replace it by tta: mirror$"):
        model = CNNClassifier(input_shape=(2, 8, 9), num_classes=3, widths=(4,), test_views="mirror")
    assert model.tta == "mirror"


def test_the_default_of_the_former_option_is_ignored() -> None:
    """The configuration of every earlier run contains it."""
    assert (
        CNNClassifier(input_shape=(2, 8, 9), num_classes=3, widths=(4,), test_views="one", tta="mirror").tta == "mirror"
    )


@pytest.mark.slow
def test_a_run_with_the_former_name_is_tested_and_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    """Rename the option back in a run's configuration and checkpoints, as they were written before."""
    options = ["--model", "CNNClassifier", "--model.widths", "[4]", "--data", "Digits", "--trainer.max_epochs", "1"]
    assert main(["fit", *options, "--trainer.logger", "false", "--model.tta", "mirror"]) == 0
    (config,) = Path("checkpoints").glob("*/*/config.yaml")

    def rename_back(text: str) -> str:
        assert "    tta: mirror\n    test_views: null\n" in text
        return text.replace("    tta: mirror\n    test_views: null\n", "    test_views: mirror\n")

    config.write_text(rename_back(config.read_text()))
    for path in config.parent.glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        content["hyper_parameters"].pop("tta")
        content["hyper_parameters"]["test_views"] = "mirror"
        content[loop_state.KEY]["config"] = rename_back(content[loop_state.KEY]["config"])
        torch.save(content, path)
    with pytest.warns(FutureWarning, match="test_views is now called tta"):
        assert CNNClassifier.load_from_checkpoint(config.parent / "best.ckpt").tta == "mirror"
    capsys.readouterr()
    assert main(["test", "--config", str(config)]) == 0
    line = "litnets: the option test_views is now called tta; replace it by tta: mirror\n"
    assert capsys.readouterr().err == line
    assert main(["resume", str(config.parent), "--trainer.max_epochs", "2"]) == 0
    output, reports = capsys.readouterr()
    assert reports == line
    assert "trainer.max_epochs: 1 -> 2" in output
    assert "init_args" not in output
