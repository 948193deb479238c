import os
import socket
from pathlib import Path

import pytest

from litnets.safety.files import (
    NotRegularFileError,
    is_regular,
    open_in_place,
    open_regular,
    replacing,
    replacing_folder,
    write_text,
)


def make_special(kind: str, path: Path) -> None:
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "folder"])
def test_only_regular_files_are_opened(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("special")
    make_special(kind, path)
    assert not is_regular(path)
    with pytest.raises(NotRegularFileError, match=f"special is a {kind}; expected a regular file"):
        open_regular(path)


def test_a_fifo_swapped_in_after_the_check_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo("data")
    Path("regular").touch()
    status = Path("regular").stat()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", lambda path: status)
        with pytest.raises(NotRegularFileError, match="data is a FIFO"):
            open_regular(Path("data"))


def test_reading_follows_a_link_to_a_regular_file() -> None:
    Path("data").write_bytes(b"content")
    Path("link").symlink_to("data")
    with open_regular(Path("link")) as file:
        assert file.read() == b"content"
    with pytest.raises(FileNotFoundError):
        open_regular(Path("nothing"))


def test_writing_in_place_does_not_follow_links() -> None:
    Path("victim").write_bytes(b"mine")
    Path("link").symlink_to("victim")
    with pytest.raises(NotRegularFileError, match="link is a link"):
        open_in_place(Path("link"))
    with open_in_place(Path("victim")) as file:
        assert file.read() == b"mine"
        file.write(b"!")
    assert Path("victim").read_bytes() == b"mine!"


def test_replacing_a_link_keeps_its_target() -> None:
    Path("victim").write_text("mine")
    Path("link").symlink_to("victim")
    write_text(Path("link"), "new")
    assert (Path("victim").read_text(), Path("link").read_text(), Path("link").is_symlink()) == ("mine", "new", False)


def test_an_existing_temporary_file_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    Path("victim").write_text("mine")
    Path(".target.guessed.part").symlink_to("victim")
    with pytest.raises(FileExistsError):
        write_text(Path("target"), "new")
    assert Path("victim").read_text() == "mine"


def test_a_failed_write_leaves_the_file_unchanged() -> None:
    write_text(Path("target"), "old")
    with pytest.raises(TypeError), replacing(Path("target")) as file:
        file.write("text in a binary file raises TypeError")  # type: ignore[arg-type]
    assert Path("target").read_text() == "old"
    assert [path.name for path in Path().iterdir()] == ["target"]


def test_a_folder_is_replaced_completely_or_not_at_all() -> None:
    target = Path("explain")
    target.mkdir()
    (target / "old").touch()
    Path(".explain.0123abcd.part").mkdir()  # of a killed process
    with pytest.raises(FileNotFoundError), replacing_folder(target) as part:
        (part / "folder" / "new").touch()
    assert [path.name for path in Path().rglob("*")] == ["explain", "old"]
    with replacing_folder(target) as part:
        (part / "new").touch()
    assert [path.name for path in Path().rglob("*")] == ["explain", "new"]


def test_replacing_a_link_keeps_the_folder_behind_it() -> None:
    Path("victim").mkdir()
    Path("victim", "mine").touch()
    Path("explain").symlink_to("victim")
    with replacing_folder(Path("explain")) as part:
        (part / "new").touch()
    assert Path("victim", "mine").exists()
    assert not Path("explain").is_symlink()
