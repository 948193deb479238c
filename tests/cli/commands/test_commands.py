"""The table of commands."""

import subprocess
import sys

import pytest

from litnets.__main__ import HELP, main
from litnets.cli.commands import COMMANDS, check_command, import_command
from litnets.errors import InputError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_function_and_its_line_in_the_help(name: str) -> None:
    assert callable(import_command(name))
    assert f"  {name:<12}{COMMANDS[name].summary}\n" in HELP


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["tset"], "no command 'tset'; did you mean 'test'?"),
        (["--config", "a.yaml", "predict"], "the command comes first: litnets predict --config a.yaml"),
        (["--verbose"], "the command comes first: litnets fit --verbose"),
    ],
)
def test_what_is_not_a_command_is_refused(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        check_command(args)
    assert main(args) == 2
    assert capsys.readouterr().err.startswith(f"litnets: {message}")


def test_a_mistyped_command_imports_no_torch() -> None:
    check = "sys.exit(bool({'torch', 'lightning'} & set(sys.modules)))"
    code = f"import sys; from litnets.__main__ import main; main(['fitt']); {check}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
