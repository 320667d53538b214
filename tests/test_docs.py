"""The examples of the documents run, and print what is written below them."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/python-api.md"])
def test_the_python_of_a_page_prints_what_the_page_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    ran = 0
    for (language, code), (next_language, written) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "python":
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, page, "exec"), names)
            assert printed.getvalue() == (written if next_language == "text" else ""), code
            ran += 1
    assert ran
