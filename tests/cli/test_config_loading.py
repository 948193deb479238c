import pytest
import yaml

from litnets.cli.config_loading import load_config


def test_aliases_may_repeat_values() -> None:
    assert load_config("a: &a [1, 2]\nb: [*a, *a]") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize("levels", [7, 40])
def test_aliases_that_expand_exponentially(levels: int) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    with pytest.raises(yaml.YAMLError, match="more than 100,000 values"):
        load_config("\n".join(lines))


def test_a_recursive_alias() -> None:
    with pytest.raises(yaml.YAMLError, match="contains itself"):
        load_config("a: &a [*a]")
