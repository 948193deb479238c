import csv
import os
import shutil

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from litnets.errors import InputError
from litnets.tasks import Classifier
from litnets.tracking.learning_rate import CompactLearningRateMonitor
from litnets.tracking.loggers import MetricsCSV


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "digits" / "first"
    folder.mkdir(parents=True)
    return folder / "metrics.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def log(path, *rows):
    logger = MetricsCSV(path)
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
        logger.save()
    return logger


def test_metrics_of_one_step_are_one_row(path):
    log(path, (3, {"epoch": 0, "a": 1.5}), (3, {"b": 2.5}), (4, {"b": 3.5, "a": 0.5}))
    assert read(path) == [
        {"epoch": "0", "step": "3", "a": "1.5", "b": "2.5"},
        {"epoch": "", "step": "4", "a": "0.5", "b": "3.5"},
    ]


def test_a_new_metric_adds_a_column(path):
    log(path, (0, {"a": 1}), (1, {"a": 2, "c": 3, "b": 4}), (2, {"a": 5}))
    assert path.read_text().splitlines() == ["epoch,step,a,b,c", ",0,1,,", ",1,2,4,3", ",2,5,,"]


def test_the_file_is_complete_after_every_save(path):
    """Rows get longer, shorter and gain columns; the file must always hold all of them."""
    logger = MetricsCSV(path)
    expected = {}
    for call in range(30):
        step, name, value = call // 3, f"metric_{call % 3 if call < 20 else call % 5}", 10.0 ** -(call % 7)
        logger.log_metrics({name: value}, step)
        logger.save()
        expected.setdefault(step, {})[name] = value
        saved = {int(r["step"]): {k: float(v) for k, v in r.items() if v and k != "step"} for r in read(path)}
        assert saved == expected
        assert path.read_text().endswith("\n")


def test_a_shorter_last_row_overwrites_the_longer_one(path):
    logger = log(path, (0, {"a": 1}), (1, {"a": 0.123456789}))
    logger.log_metrics({"a": 2}, 1)
    logger.save()
    assert path.read_text() == "epoch,step,a\n,0,1\n,1,2\n"


def test_an_existing_file_is_continued(path):
    log(path, (0, {"epoch": 0, "a": 1}), (1, {"epoch": 0, "b": 2}))
    log(path, (2, {"epoch": 1, "b": 3, "c": 4}))
    assert [tuple(row.values()) for row in read(path)] == [
        ("0", "0", "1", "", ""),
        ("0", "1", "", "2", ""),
        ("1", "2", "", "3", "4"),
    ]


def test_an_existing_file_is_continued_with_the_same_columns(path):
    log(path, (0, {"a": 1}), (1, {"a": 2}))
    log(path, (1, {"a": 3}), (2, {"a": 4}))
    assert path.read_text() == "epoch,step,a\n,0,1\n,1,3\n,2,4\n"


def test_names_with_commas_are_quoted(path):
    log(path, (0, {'f1/"shirt", blue': 1}))
    assert read(path) == [{"epoch": "", "step": "0", 'f1/"shirt", blue': "1"}]


def test_no_file_is_written_without_metrics(path):
    MetricsCSV(path).finalize("success")
    assert not path.exists()


def test_finalize_saves(path):
    logger = MetricsCSV(path)
    logger.log_metrics({"a": 1}, 0)
    logger.finalize("success")
    assert len(read(path)) == 1


def test_name_version_and_folders(path):
    logger = MetricsCSV(path)
    assert (logger.name, logger.version) == ("digits", "first")
    assert logger.log_dir == logger.save_dir == str(path.parent)


# The data is in memory, so workers would only slow down loading.
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_rows_logged_in_training(path):
    """Five steps per epoch: the first learning rate, metrics of every second step, epoch metrics at the last step."""
    loader = DataLoader(TensorDataset(torch.randn(20, 3), torch.arange(20) % 2), batch_size=4)
    trainer = Trainer(
        accelerator="cpu",
        logger=MetricsCSV(path),
        max_epochs=2,
        log_every_n_steps=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[CompactLearningRateMonitor()],
    )
    model = Classifier(nn.Linear(3, 2), 2, lr=0.5)
    trainer.fit(model, loader, loader)
    rows = read(path)
    assert [int(row["step"]) for row in rows] == [0, 1, 3, 4, 5, 7, 9]
    assert [int(row["epoch"]) for row in rows[1:]] == [0, 0, 0, 1, 1, 1]
    assert [bool(row["train/loss_step"]) for row in rows] == [False, True, True, False, True, True, True]
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1"):
        assert [bool(row[name]) for row in rows] == [False, False, False, True, False, False, True]
    assert float(rows[-1]["val/loss"]) == pytest.approx(trainer.callback_metrics["val/loss"].item())
    assert [row["lr"] for row in rows] == ["0.5", "0.5", "0.5", "", "0.5", "0.5", "0.5"]


DAMAGE = {
    "no step": b"epoch,loss\n0,1\n",
    "null bytes": b"\0" * 50,
    "a row without step": b"epoch,step\n0,1\n0,\n0,2\n",
    "a step that is text": b"epoch,step\n0,one\n0,2\n",
    "a step in other digits": "epoch,step\n0,²\n0,2\n".encode(),
    "a negative step": b"epoch,step\n0,-1\n0,2\n",
    "a step of 5,000 digits": b"epoch,step\n0," + b"9" * 5000 + b"\n0,2\n",
    "a field that is too long": b"epoch,step\n" + b"a" * 200_000 + b",1\n",
    "a short row": b"epoch,step\n0\n0,2\n",
    "not UTF-8": b"\xff\xfe,\xff\n\xff,\xff\n",
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_reported_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        MetricsCSV(path).log_metrics({"a": 1}, 3)
    assert str(error.value).startswith(f"{path} is damaged (")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("last", [b"0,", b"0", b"0,5", b'0,"5'])
def test_a_truncated_last_row(path, last):
    path.write_bytes(b"epoch,step\n0,1\n" + last)
    log(path, (9, {"epoch": 1}))
    assert [row["step"] for row in read(path)] in (["1", "9"], ["1", "5", "9"])


def test_extra_columns_of_a_row_are_dropped(path):
    path.write_bytes(b"epoch,step\n0,1,2,3\n")
    log(path, (2, {"a": 1}))
    assert path.read_text() == "epoch,step,a\n0,1,\n,2,1\n"


@pytest.mark.parametrize("kind", ["link", "FIFO", "folder"])
def test_only_a_regular_file_is_written(path, kind):
    victim = path.parent / "victim"
    victim.write_text("epoch,step\n")
    logger = MetricsCSV(path)
    logger.log_metrics({"a": 1}, 0)
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(InputError, match=r"metrics\.csv "):
        logger.save()
    assert victim.read_text() == "epoch,step\n"


def test_a_fifo_is_not_read(path):
    os.mkfifo(path)
    with pytest.raises(InputError, match="is a FIFO; expected a regular file"):
        MetricsCSV(path).log_metrics({"a": 1}, 0)


def test_a_deleted_run_folder_is_reported(path):
    logger = log(path, (0, {"a": 1}))
    shutil.rmtree(path.parent)
    logger.log_metrics({"a": 2}, 1)
    with pytest.raises(InputError, match=r"metrics\.csv cannot be written: the folder is gone$"):
        logger.save()


@pytest.mark.parametrize("content", [None, "epoch"])
def test_a_removed_or_truncated_file_is_written_again(path, content):
    logger = log(path, (0, {"a": 1}), (1, {"a": 2}))
    path.unlink()
    if content is not None:
        path.write_text(content)
    logger.log_metrics({"a": 3}, 2)
    logger.save()
    assert path.read_text() == "epoch,step,a\n,0,1\n,1,2\n,2,3\n"


def test_a_resumed_run_that_logs_nothing_keeps_the_file(path):
    """A resume that fails before its first batch must not remove rows."""
    state = log(path, (0, {"a": 1})).state_dict()
    log(path, (1, {"a": 2}))
    resumed = MetricsCSV(path)
    resumed.load_state_dict(state)
    resumed.finalize("failed")
    assert [row["step"] for row in read(path)] == ["0", "1"]
    resumed.log_metrics({"a": 3}, 2)
    resumed.finalize("success")
    assert [row["step"] for row in read(path)] == ["0", "2"]


def test_a_checkpoint_without_logger_state_is_loaded(path):
    logger = MetricsCSV(path)
    logger.load_state_dict({})
    logger.log_metrics({"a": 1}, 0)
    logger.save()
    assert [row["step"] for row in read(path)] == ["0"]
