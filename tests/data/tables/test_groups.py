from pathlib import Path

import pytest

from litnets.data import TableCSV
from litnets.errors import InputError


def write_patients(path: str = "patients.csv", last: str = "p9") -> None:
    """Write three rows of each of ten patients."""
    rows = [f"p{i // 3},{i},{('ill', 'well')[i // 3 % 2]}" for i in range(29)]
    Path(path).write_text("\n".join(["patient,dose,state", *rows, f"{last},29,well"]) + "\n")


def test_rows_of_a_group_stay_in_one_fold() -> None:
    write_patients()
    tested: list[int] = []
    for fold in range(5):
        data = TableCSV("patients.csv", "state", group_column="patient", num_folds=5, fold=fold)
        data.setup()
        patients = [{int(i) // 3 for i in data.splits[part].indices} for part in ("train", "val", "test")]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 10
        assert {patient % 2 for patient in patients[2]} == {0, 1}, "folds are stratified"
        tested += data.splits["test"].indices.tolist()
    assert sorted(tested) == list(range(30))


def test_the_group_is_no_input_and_new_rows_need_none() -> None:
    write_patients()
    data = TableCSV("patients.csv", "state", group_column="patient")
    data.setup()
    assert data.table.columns == ["dose"]
    Path("new.csv").write_text("dose\n3\n4\n")
    assert data.load_predict(Path("new.csv")).inputs.shape == (2, 1)


@pytest.mark.parametrize(
    ("column", "last", "message"),
    [
        ("patient", "", "patients.csv: group_column 'patient', row 30: expected the group of the row, got no value"),
        ("state", "p9", "target: 'state' is also the group_column"),
        ("person", "p9", "no column 'person'"),
    ],
)
def test_a_wrong_group_column_is_refused(column: str, last: str, message: str) -> None:
    write_patients(last=last)
    with pytest.raises(InputError, match=message):
        TableCSV("patients.csv", "state", group_column=column).setup()
