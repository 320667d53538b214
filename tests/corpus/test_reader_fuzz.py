"""Whatever is put into a reader ends in records, in named pieces or in one clear line."""

from __future__ import annotations

from pathlib import Path

from tests.support.reader_inputs import KINDS, fuzz


def test_no_input_is_an_error_of_ours_or_costs_a_record_that_could_be_read(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 15 * len(KINDS), seed=1)
    assert found.problems == []
    assert found.read
    assert found.left_out
    assert found.refused
