"""What a command that reads or answers loads, beside what it uses: nothing that takes long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mbc_cli.inference.adapters import resolve_adapter
from tests.support.run_mbc import process_environment
from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import select_config, telegram_config

SLOW = [
    "transformers",
    "peft",
    "accelerate",
    "huggingface_hub",
    "torch._dynamo",
    "scipy",
    "sklearn",
    "pyarrow",
]
SCRIPT = """
import contextlib, io, json, sys
from mbc_cli.cli.app import main
document, place, adapter = sys.argv[1:]
for arguments in (["encode", document, "--adapter", adapter], ["query", "Who opened the museum?"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        main([*arguments, "--store", place, "--device", "cpu"])
    assert arguments[0] == "encode" or out.getvalue().strip()
print(json.dumps(sorted(sys.modules)))
"""


def loaded_by_encode_and_query(adapter: Path, folder: Path) -> set[str]:
    (folder / "document.txt").write_text("Mira Okafor opened the museum in Lindholm.\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder / "document.txt", folder / "store.mbc", adapter],
        capture_output=True,
        check=False,
        text=True,
        env=process_environment(),
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["news", "telegram", "select"])
def test_encode_and_query_load_neither_transformers_nor_peft(kind: str, tmp_path: Path) -> None:
    if kind == "news":
        adapter = resolve_adapter("news").directory
    else:
        makers = {"telegram": telegram_config, "select": select_config}
        adapter = save_adapter_directory(tmp_path / kind, "llama", make_config=makers[kind])
    loaded = loaded_by_encode_and_query(adapter, tmp_path)
    assert "torch" in loaded
    assert sorted(loaded & {*SLOW}) == []
