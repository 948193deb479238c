"""Skewed numbers, compared with scikit-learn's QuantileTransformer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer

from litnets.data import TableCSV
from litnets.data.tables.skewness import NormalizeSkewed, fit_quantiles

RNG = np.random.default_rng(0)
INCOME = RNG.lognormal(0, 2, 300)
VISITS = np.floor(INCOME)  # half of the values are 0


def normalize(column: Any, values: Any) -> Any:
    quantiles = fit_quantiles(np.asarray(column, float)[:, None])
    return NormalizeSkewed(list(quantiles.values()))(torch.tensor(values, dtype=torch.float32)[:, None])[:, 0].numpy()


@pytest.mark.parametrize("column", [INCOME, -INCOME, VISITS])
def test_values_are_those_of_scikit_learn_within_three_deviations(column: Any) -> None:
    new = np.linspace(column.min(), column.max(), 200)[1:]  # scikit-learn maps a tied minimum to minus infinity
    reference = QuantileTransformer(n_quantiles=101, output_distribution="normal").fit(column[:, None])
    expected = reference.transform(new[:, None])[:, 0].clip(-3, 3)
    np.testing.assert_allclose(normalize(column, new), expected, atol=0.15)


def test_order_is_kept_and_extremes_are_three_deviations() -> None:
    scores = normalize(INCOME, np.sort(INCOME))
    assert (np.diff(scores) >= 0).all()
    assert normalize(INCOME, [-1e9, INCOME.min(), INCOME.max(), 1e9]).tolist() == [-3, -3, 3, 3]
    assert abs(scores.mean()) < 0.05
    assert abs(scores.std() - 1) < 0.05


def test_equal_values_get_their_mean() -> None:
    column = [0.0] * 95 + [1.0] * 5
    low, high = normalize(column, [0, 1])
    assert low == pytest.approx(-0.1, abs=0.1)
    assert high > 1.9


def test_only_skewed_columns_are_fitted() -> None:
    columns = np.stack([RNG.normal(size=300), INCOME, np.ones(300), RNG.uniform(size=300), -INCOME], 1)
    assert list(fit_quantiles(columns)) == [1, 4]


def write_table() -> str:
    rows = [f"{i % 7},{income:.6g},{'ab'[i % 2]}" for i, income in enumerate(INCOME[:100])]
    Path("people.csv").write_text("\n".join(["day,income,label", *rows]))
    return "people.csv"


def test_a_table_maps_skewed_columns_and_scales_others() -> None:
    plain, mapped = (TableCSV(write_table(), "label", normalize_skewed=on) for on in (False, True))
    for module in (plain, mapped):
        module.setup()
    rows = mapped.table.inputs
    assert torch.equal(plain.prepare(rows)[:, 0], mapped.prepare(rows)[:, 0])
    income = mapped.prepare(rows)[:, 1]
    assert income.abs().max() <= 3
    assert plain.prepare(rows)[:, 1].max() > 4
    assert "quantiles" not in plain.state_dict()


def test_a_checkpoint_keeps_the_quantiles() -> None:
    module = TableCSV(write_table(), "label", normalize_skewed=True)
    module.setup()
    state = module.state_dict()
    restored = TableCSV("people.csv", "label", split_seed=5)
    restored.setup()
    restored.load_state_dict(state)
    torch.testing.assert_close(restored.prepare(module.table.inputs), module.prepare(module.table.inputs))
