"""The tab key completes presets, adapters, stores and tags, and imports nothing heavy for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mbc_store import MemoryStore

from mbc_cli.inference.trust import trust_adapter
from mbc_cli.presets import preset_names
from tests.support.run_mbc import process_environment
from tests.support.store.operations import SMALL

# Not pydantic: Typer itself reads values with it.
HEAVY = ["torch", "transformers", "zarr", "icechunk", "numpy", "pyarrow", "peft"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MBC_CONFIG_HOME", str(tmp_path / ".settings"))
    return tmp_path


def completed(line: str, imported: bool = False) -> list[str]:
    """What the shell is offered at the end of ``line``; nothing heavy may have been imported for it."""
    words = {
        "_MBC_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    code = f"""
import sys
sys.argv = ["mbc"]
from mbc_cli.cli.app import main
try:
    main()
finally:
    heavy = sorted(set({HEAVY}) & set(sys.modules))
    assert {imported} or not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=process_environment(**words),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


def test_presets_by_name_and_files() -> None:
    Path("mine.yaml").write_text("{}")
    assert completed("mbc adapt d.jsonl --preset ") == [*preset_names(), "mine.yaml"]
    assert completed("mbc adapt d.jsonl --preset gpt2-") == [
        name for name in preset_names() if "gpt2-" in name
    ]


@pytest.mark.parametrize("command", ["query", "encode c", "adapter verify", "memory show d"])
def test_adapters_that_are_bundled_trusted_or_in_folders(command: str) -> None:
    trust_adapter("owner/news", "0" * 8)
    Path("runs/best").mkdir(parents=True)
    Path("runs/best/config.yaml").write_text("")
    option = "" if command.startswith("adapter") else " --adapter"
    assert completed(f"mbc {command}{option} ") == ["default", "news", "owner/news", "runs/"]
    assert completed(f"mbc {command}{option} runs/") == ["runs/best"]
    assert completed(f"mbc {command}{option} d") == ["default"]


@pytest.mark.parametrize("command", ["query x --store", "memory info -s", "memory merge"])
def test_stores_and_the_folders_on_the_way_to_them(command: str) -> None:
    for folder in ("a.mbc/icechunk", "archive/b.mbc/icechunk", ".hidden/icechunk"):
        Path(folder).mkdir(parents=True)
    Path("a.txt").write_text("")
    assert completed(f"mbc {command} ") == ["a.mbc", "archive/"]
    assert completed(f"mbc {command} archive/") == ["archive/b.mbc"]
    assert completed(f"mbc {command} ./a") == ["./a.mbc", "./archive/"]
    assert completed(f"mbc {command} none/") == []


def test_tags_of_the_store_that_is_named() -> None:
    store = MemoryStore.create(Path("memory.mbc"), SMALL)
    store.tag("may")
    store.tag("march")
    store.tag("gone")
    store.delete_tag("gone")
    MemoryStore.create(Path("other.mbc"), SMALL).tag("theirs")
    for command in ("query x --at", "memory rollback", "memory diff", "memory diff may", "memory tag"):
        assert completed(f"mbc {command} ", imported=True) == ["march", "may"]
    assert completed("mbc memory info --store other.mbc --at ", imported=True) == ["theirs"]
    assert completed("mbc memory info --at ma", imported=True) == ["march", "may"]
    assert completed("mbc memory info --store none.mbc --at ", imported=True) == []
    assert completed("mbc memory info --store s3://bucket/news --at ") == []
