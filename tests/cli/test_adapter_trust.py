"""A store's suggestion of an adapter is followed only to what the user named before; nothing in it runs."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mbc_store import MemoryStore, StoreConfig

from mbc_cli.errors import ExitCode
from mbc_cli.inference.trust import TrustedAdapter, trusted_adapters
from tests.support.run_mbc import RunMbc, run_process

QUESTION = "Who opened the museum?"


@pytest.fixture(autouse=True)
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder of this test's own, in which nothing is trusted yet."""
    monkeypatch.setenv("MBC_CONFIG_HOME", str(tmp_path / "configuration"))
    return tmp_path / "configuration"


@pytest.fixture
def store(mbc: RunMbc, adapter_directory: Path, tmp_path: Path) -> Path:
    place = tmp_path / "s.mbc"
    done = mbc("encode", "-", "--store", place, "-a", adapter_directory, stdin=b"Mira opened the museum.\n")
    assert done.code == 0, done.err
    return place


def of_a_stranger(configuration: Path) -> None:
    """What this user named so far is forgotten: the store is as one that was received."""
    shutil.rmtree(configuration)


def store_that_names(place: Path, adapter: str) -> Path:
    MemoryStore.create(
        place,
        StoreConfig(
            slots=5, num_quantizers=1, codebook_size=16, fingerprint="0" * 32, keep_text=True, adapter=adapter
        ),
    )
    return place


def test_an_adapter_named_once_is_found_again_by_its_stores(
    mbc: RunMbc, store: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    assert mbc("query", QUESTION, "--store", store).code == 0
    assert [trusted.place for trusted in trusted_adapters()] == [str(adapter_directory)]
    copy = shutil.copytree(store, tmp_path / "copy.mbc")
    assert mbc("query", QUESTION, "--store", copy).code == 0


def test_a_store_from_elsewhere_is_not_followed_to_its_adapter_until_that_is_trusted(
    mbc: RunMbc, store: Path, configuration: Path, adapter_directory: Path
) -> None:
    of_a_stranger(configuration)
    for command in (["query", QUESTION], ["encode", "-"]):
        refused = mbc(*command, "--store", store, stdin=b"More.\n")
        assert refused.code == ExitCode.FAILED
        assert f"{str(adapter_directory)!r}" in refused.err
        assert f"mbc adapter trust {adapter_directory}" in refused.err
        assert "--adapter" in refused.err
    assert not configuration.exists()

    assert mbc("adapter", "trust", adapter_directory).code == 0
    assert mbc("query", QUESTION, "--store", store).code == 0
    (listed,) = [json.loads(line) for line in mbc("adapter", "trust", "--list", "--json").out.splitlines()]
    assert listed["place"] == str(adapter_directory)

    assert mbc("adapter", "trust", adapter_directory, "--remove").code == 0
    assert mbc("adapter", "trust", adapter_directory, "--remove").code == ExitCode.FAILED
    assert mbc("query", QUESTION, "--store", store).code == ExitCode.FAILED


def test_a_trusted_copy_serves_stores_of_the_same_fingerprint(
    mbc: RunMbc, store: Path, configuration: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    of_a_stranger(configuration)
    copy = shutil.copytree(adapter_directory, tmp_path / "copy")
    assert mbc("adapter", "trust", copy).code == 0
    assert mbc("query", QUESTION, "--store", store).code == 0


def test_a_damaged_record_trusts_nothing(configuration: Path) -> None:
    folder = configuration / "trusted-adapters"
    folder.mkdir(parents=True)
    broken = ("{", "[]", "1", '{"place": "x"}', '{"place": 1, "fingerprint": 2}')
    for number, text in enumerate(broken):
        (folder / f"{number}.json").write_text(text)
    (folder / "f.json").write_text(json.dumps({"place": "/somewhere", "fingerprint": "0" * 32}))
    assert trusted_adapters() == []


class Hub(http.server.BaseHTTPRequestHandler):
    """Counts what it is asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    Hub.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Hub.asked
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_nothing_is_fetched_because_a_store_says_so(
    tmp_path: Path, hub: tuple[str, list[str]], configuration: Path
) -> None:
    endpoint, asked = hub
    name = "attacker/evil@main"
    place = store_that_names(tmp_path / "s.mbc", name)
    network = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub")}
    refused = run_process("query", "-", "--store", place, stdin=b"y\nWho?\n", **network)
    assert (refused.code, refused.out, asked) == (ExitCode.FAILED, "", [])
    assert repr(name) in refused.err
    # The same server is asked for what the user names.
    run_process("query", "Who?", "--store", place, "--adapter", name, **network)
    assert asked


@pytest.mark.parametrize("name", ["attacker/evil", "./evil", "../evil", "~/evil", "/etc", "evil\n\u202e"])
def test_no_name_that_a_store_gives_leads_anywhere(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter_directory: Path, name: str
) -> None:
    shutil.copytree(adapter_directory, tmp_path / "evil")
    monkeypatch.chdir(tmp_path)
    refused = mbc("query", "Who?", "--store", store_that_names(tmp_path / "s.mbc", name))
    assert refused.code == ExitCode.FAILED
    assert repr(name) in refused.err
    assert "\u202e" not in refused.err
    assert len(refused.err.splitlines()) == 2


def code_of(adapter: Path, tmp_path: Path, where: str) -> tuple[Path, Path]:
    """A copy of ``adapter`` that would write a mark if its code ran, and the mark."""
    mark, evil = tmp_path / "mark", Path(shutil.copytree(adapter, tmp_path / "evil"))
    shutil.copytree(adapter.parent / "gpt2", evil / "base")
    folder = {"base": evil / "base", "tokenizer": evil / "tokenizers" / "language"}[where]
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').write('ran')\nclass Evil: pass\n")
    file = folder / {"base": "config.json", "tokenizer": "tokenizer_config.json"}[where]
    content = json.loads(file.read_text()) if where == "tokenizer" else {"model_type": "evil"}
    names = {f"Auto{kind}": "evil.Evil" for kind in ("Config", "ModelForCausalLM", "Model")}
    content |= {"tokenizer_class": "Evil", "auto_map": names | {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    file.write_text(json.dumps(content))
    config = evil / "config.yaml"
    base = str(adapter.parent / "gpt2")
    # Without checksums, which whoever adds the code would make anew.
    config.write_text(config.read_text().partition("\nfiles:")[0].replace(base, "./base") + "\n")
    return evil, mark


@pytest.mark.slow
@pytest.mark.parametrize("where", ["base", "tokenizer"])
def test_code_in_an_adapter_never_runs_and_nobody_is_asked(
    adapter_directory: Path, store: Path, configuration: Path, tmp_path: Path, where: str
) -> None:
    evil, mark = code_of(adapter_directory, tmp_path, where)
    home = {"MBC_CONFIG_HOME": str(configuration)}
    commands = [
        ["query", "-", "--store", store, "--adapter", evil],
    ]
    if where == "base":
        commands += [
            ["adapter", "info", evil],
            ["query", "-", "--store", store_that_names(tmp_path / "named.mbc", str(evil))],
        ]
    for command in commands:
        done = run_process(*command, stdin=b"y\nWho?\n", **home)
        assert (done.code, done.out) == (ExitCode.FAILED, ""), done.err
        assert [line.partition(":")[0] for line in done.err.splitlines()] == ["error", "hint"], done.err
        assert "trust_remote_code" not in done.err
    assert not mark.exists()
    assert TrustedAdapter(str(evil), "0" * 32) not in trusted_adapters()


@pytest.mark.slow
def test_code_beside_a_known_architecture_is_left_alone_and_stdin_is_data(
    adapter_directory: Path, store: Path, configuration: Path, tmp_path: Path
) -> None:
    evil, mark = code_of(adapter_directory, tmp_path, "tokenizer")
    file = evil / "tokenizers" / "language" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    asked = run_process(
        "query",
        "-",
        "--store",
        store,
        "--adapter",
        evil,
        "--json",
        stdin=b"y\nWho?\n",
        MBC_CONFIG_HOME=str(configuration),
    )
    assert asked.code == 0, asked.err
    assert [json.loads(line)["question"] for line in asked.out.splitlines()] == ["y", "Who?"]
    assert not mark.exists()


def test_doctor_checks_the_adapter_that_the_store_was_made_with(
    mbc: RunMbc, adapter_directory: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(adapter_directory, tmp_path / "mine"))
    place = tmp_path / "s.mbc"
    assert mbc("encode", "-", "--store", place, "-a", mine, stdin=b"Mira opened the museum.\n").code == 0

    def finding() -> tuple[int, bool, str]:
        done = mbc("doctor", "--store", place, "--json")
        (check,) = [c for c in map(json.loads, done.out.splitlines()) if c["name"] == "adapter"]
        return done.code, check["ok"], check["finding"]

    code, ok, said = finding()
    assert (code, ok) == (0, True)
    assert f"with which {place} was made" in said
    assert said.startswith(str(mine))
    assert "files as recorded" in said
    weights = mine / "kv_lora" / "adapter_model.safetensors"
    intact = weights.read_bytes()
    weights.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    assert finding()[:2] == (ExitCode.FAILED, False)
    assert "adapter_model.safetensors is damaged" in finding()[2]
    damaged = mbc("adapter", "verify", mine)
    assert damaged.code == ExitCode.FAILED
    assert "is damaged" in damaged.out
    weights.write_bytes(intact)
    assert mbc("adapter", "verify", mine, "--json").code == 0
    other = mbc("doctor", "--store", place, "--adapter", "default")
    assert other.code == ExitCode.FAILED
    assert "was made with" in other.out
    shutil.rmtree(mine)
    code, ok, said = finding()
    assert (code, ok) == (ExitCode.FAILED, False)
    assert str(mine) in said


def test_the_bundled_adapter_is_not_calibrated_in_place(mbc: RunMbc, tmp_path: Path) -> None:
    document = {"id": "a", "text": "t"}
    question = {"question": "q?", "answers": ["a"], "document_ids": ["a"]}
    for name, content in (("d.jsonl", document), ("q.jsonl", question)):
        (tmp_path / name).write_text(json.dumps(content))
    refused = mbc(
        *["adapter", "calibrate", "default", "--documents", tmp_path / "d.jsonl"],
        *["--questions", tmp_path / "q.jsonl"],
    )
    assert refused.code == ExitCode.FAILED
    assert "belongs to an installed package" in refused.err
