"""Whatever is put into ``mbc encode``: no traceback, and nothing stored is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbc_cli.batching import batched
from tests.support.fuzzed_inputs import FuzzedMemory, fuzzed_inputs


@pytest.mark.slow
def test_fuzzed_files_leave_exactly_the_documents_that_could_be_read(
    tmp_path: Path, adapter_directory: Path
) -> None:
    memory = FuzzedMemory(tmp_path, adapter_directory)
    for files in fuzzed_inputs(60):
        for some in batched(files, 20):
            memory.feed(some)
    assert memory.expected
    assert memory.skipped
