"""The columns of predictions.csv that identify samples."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from litnets.data import ImageFolder, TableCSV, TextFiles
from litnets.data.core.fingerprint import Fingerprint
from litnets.data.core.sample_columns import sources_of, sources_of_new, targets_of
from litnets.errors import InputError
from tests.helpers.tiny_images import write_image_folder
from tests.helpers.tiny_tables import HEADER, table_rows, write_csv
from tests.helpers.tiny_text import rows as rows_of_text


def test_rows_are_counted_in_each_file() -> None:
    samples = Fingerprint.of_rows(np.zeros(5, np.uint64), [3, 2])
    assert sources_of(samples, torch.tensor([4, 0, 2])) == {"row": ["2", "1", "3"]}


@pytest.mark.parametrize("root", ["data", ".", "/", "/data/sub"])
def test_files_are_named_relative_to_the_data(root: str) -> None:
    files = [Path(root) / "cat/1.png", Path(root) / "dog/2.png"]
    samples = Fingerprint.of_files(Path(root), files, np.zeros(2, np.uint64))
    assert sources_of(samples, torch.tensor([1, 0])) == {"file": ["dog/2.png", "cat/1.png"]}


def test_new_samples() -> None:
    assert sources_of_new(None, 2) == {"row": ["1", "2"]}
    assert sources_of_new(["a.png", "b.png"], 2) == {"file": ["a.png", "b.png"]}
    assert sources_of_new(["a.txt", "b.txt", "a.txt"], 3) == {
        "file": ["a.txt", "b.txt", "a.txt"],
        "row": ["1", "1", "2"],
    }


def test_targets() -> None:
    assert targets_of(torch.tensor([1, 0]), ["no", "yes"]) == {"target": ["yes", "no"]}
    assert targets_of(torch.tensor([[1, 0]]), ["red", "big"]) == {"target_red": ["1"], "target_big": ["0"]}
    values = torch.tensor([[1234567.0, 0.1]])
    assert targets_of(values, None, ["price", "share"]) == {"target_price": ["1234567"], "target_share": ["0.1"]}
    assert targets_of(values[:, :1], None, ["price"]) == targets_of(values[:, 0], None) == {"target": ["1234567"]}


def test_predicted_samples_of_a_test_split() -> None:
    write_image_folder(Path("images"))
    data = ImageFolder("images", size=8)
    data.setup()
    assert data.predicted_columns == {}  # nothing was predicted yet
    data.predict_dataloader()
    indices = data.splits["test"].indices.tolist()
    files = [data.folders.files[i].relative_to("images").as_posix() for i in indices]
    assert data.predicted_columns == {"file": files, "target": [file.partition("/")[0] for file in files]}


def table_with_ids() -> list[list[str]]:
    """Write `table.csv` with a column of customers, which are unlike numbers, and return its rows."""
    rows = [[f"customer-{number % 50:02}", *row] for number, row in enumerate(table_rows())]
    write_csv(Path("table.csv"), rows, f"customer,{HEADER}")
    return rows


def test_id_columns_of_a_table_are_carried_along_and_not_learned_from() -> None:
    rows = table_with_ids()
    data = TableCSV("table.csv", "bought", ignore=["red", "round", "price"], id_columns=["customer"])
    data.setup()
    assert data.table.columns == ["age", "income", "town"]
    data.predict_dataloader()
    indices = data.splits["test"].indices.tolist()
    assert data.predicted_columns == {
        "row": [str(i + 1) for i in indices],
        "customer": [rows[i][0] for i in indices],
        "target": [rows[i][4] for i in indices],
    }


def test_new_rows_carry_their_target_if_they_have_it() -> None:
    table_with_ids()
    options = {"ignore": ["red", "round", "price"], "id_columns": ["customer", "index"]}
    trained = TableCSV("table.csv", "bought", ignore=["red", "round", "price", "customer"])
    trained.setup()
    state = trained.state_dict()
    Path("new.csv").write_text("index,customer,age,town,income,bought\n7,007,30,Rome,1,no\n9,,40,Oslo,2,?\n")
    data = TableCSV("table.csv", "bought", predict_path="new.csv", **options)  # type: ignore[arg-type]
    data.load_state_dict(state)
    data.predict_dataloader()
    expected = {"row": ["1", "2"], "customer": ["007", ""], "id_index": ["7", "9"], "target": ["no", ""]}
    assert data.predicted_columns == expected
    Path("new.csv").write_text("index,age,town,income\n7,30,Rome,1\n")
    with pytest.raises(InputError, match=r"new.csv: no column 'customer' \(columns: index, age, town, income\)"):
        data.predict_dataloader()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_id_columns_of_texts(suffix: str) -> None:
    content = rows_of_text(60)
    named = [{"id": f"t{i}", "text": text, "label": label} for i, (text, label) in enumerate(content)]
    path = Path(f"texts.{suffix}")
    if suffix == "csv":
        lines = ["id,text,label", *(",".join(row.values()) for row in named)]
    else:
        lines = [json.dumps(row) for row in named]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = TextFiles(str(path), id_columns=["id"])
    data.setup()
    data.predict_dataloader()
    indices = data.splits["test"].indices.tolist()
    assert data.predicted_columns == {
        "row": [str(i + 1) for i in indices],
        "id": [f"t{i}" for i in indices],
        "target": [content[i][1] for i in indices],
    }
    new = TextFiles(str(path), id_columns=["id"], predict_path=str(path))
    new.load_state_dict(data.state_dict())
    new.predict_dataloader()
    columns = new.predicted_columns
    assert columns["id"] == [f"t{i}" for i in range(60)]
    assert columns["target"] == [label for _, label in content]
    new.id_columns = ["name"]
    with pytest.raises(InputError, match=r"^id_columns: texts\.\w+ has no column 'name'$"):
        new.predict_dataloader()
