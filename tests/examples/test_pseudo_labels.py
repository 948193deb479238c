import torch
from torch import nn

from examples import pseudo_labels


class Fixed(nn.Module):
    """A network whose logits are its inputs."""

    def forward(self, x):
        return x


def test_only_confident_predictions_become_labels():
    probabilities = torch.tensor([[0.96, 0.04], [0.5, 0.5], [0.05, 0.95], [0.94, 0.06]])
    sure, classes = pseudo_labels.pseudo_label(Fixed(), probabilities.log(), confidence=0.949)
    assert sure.tolist() == [0, 2]
    assert classes.tolist() == [0, 1]


def test_the_example_runs(capsys):
    scores = pseudo_labels.main(["--rounds", "1", "--steps", "30"])
    assert scores["all labels"] > scores["few labels"]
    assert "pseudo-labels, " in capsys.readouterr().out
