from pathlib import Path

import pytest

from litnets.errors import InputError
from litnets.tuning.space import read_space


def test_a_file_and_entries_that_override_it() -> None:
    Path("space.yaml").write_text("model.lr: log(1e-4, 1e-1)\nmodel.sizes: [[64], [64, 32]]\ndata.batch_size: [8]\n")
    space = read_space(["space.yaml", "data.batch_size = logint(8,64)", "--model.dropout=uniform(0,0.5)"])
    assert [f"{parameter.name}={parameter}" for parameter in space] == [
        "model.lr=log(0.0001, 0.1)",
        "model.sizes=[[64], [64, 32]]",
        "data.batch_size=logint(8, 64)",
        "model.dropout=uniform(0.0, 0.5)",
    ]


def test_values_as_options() -> None:
    rate, width, names = read_space(["a=log(1e-5,1)", "b=int(2,4)", "c=[relu, null, 1e-3, true]"])
    assert rate.examples == ("1e-05", "1.0")
    assert rate.to_text(rate.round(0.0123456)) == "0.0123"
    assert rate.round(1.00000001e-5) == 1e-5
    assert (width.to_text(3.0), width.grid) == ("3", ("2", "3", "4"))
    assert names.grid == names.examples == ("relu", "null", "0.001", "true")
    assert rate.grid is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("model.lr=loog(1,2)", "no distribution 'loog'; did you mean 'log'?"),
        ("model.lr=log(0,1)", "needs bounds above 0, got log(0,1)"),
        ("model.lr=log(1,x)", "expected a number, got x"),
        ("model.lr=int(1,2.5)", "expected a whole number, got 2.5"),
        ("model.lr=uniform(2,1)", "a lower bound below the upper bound"),
        ("model.lr=0.1", "expected a list such as"),
        ("model.lr=[]", "expected a list such as"),
        ("model.lr=[1, 1]", "a value appears twice"),
        ("data.val_size=[0.1]", "scores could not be compared"),
        ("monitor=[val/loss]", "scores could not be compared"),
        ("trainer.max_epochs=[1]", "all trials have the same budget"),
        ("seed_everything=[1]", "set by the search itself"),
        ("nothing.yaml", "no such file"),
    ],
)
def test_a_wrong_entry_is_named(entry: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_space([entry])
    assert message in str(error.value)
    assert entry.partition("=")[0] in str(error.value)
