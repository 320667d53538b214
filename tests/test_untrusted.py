"""Files of others are read within bounds: whatever they hold, an answer comes soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mbc_cli.untrusted import UntrustedFileError, open_regular, parse_json, parse_yaml, read_text

MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))])


@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_plain_trees_are_read_as_they_are(parse) -> None:
    assert parse('{"a": [1, 2.5, null, true], "b": "ä"}') == {"a": [1, 2.5, None, True], "b": "ä"}
    assert parse("-" + "9" * 90) == -(10**90 - 1)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 3000 + "]" * 3000, "9" * 5000, "[" + "9" * 101 + "]", "{]"]
)
@pytest.mark.parametrize("parse", [parse_json, parse_yaml])
def test_trees_that_would_exhaust_stack_or_time_are_refused_in_one_line(parse, text: str) -> None:
    with pytest.raises(UntrustedFileError) as raised:
        parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["d: 2026-99-99", "a: &a [*a]", "x: &x [1]\ny: *x", MERGES, "{[1]: 2}", "!!python/name:os.system ''"],
)
def test_yaml_makes_plain_values_without_aliases(text: str) -> None:
    with pytest.raises(UntrustedFileError) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)


def test_only_regular_files_of_the_size_expected_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    assert read_text(tmp_path / "file", 5) == "12345"
    with pytest.raises(UntrustedFileError, match="larger than 4 bytes"):
        read_text(tmp_path / "file", 4)
    for name, reason in (("link", "symbolic link"), ("pipe", "no regular file")):
        with pytest.raises(UntrustedFileError, match=reason):
            open_regular(tmp_path / name)
    for name in (tmp_path, Path("/dev/zero")):
        with pytest.raises(UntrustedFileError, match="no regular file"):
            open_regular(name)
    (tmp_path / "latin").write_bytes(b"\xe4")
    with pytest.raises(UntrustedFileError, match="not UTF-8"):
        read_text(tmp_path / "latin", 5)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 5)
