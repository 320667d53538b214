"""Arguments that no one can mean: one clear line, exit code 2, and no secret repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mbc_store import MemoryStore, StoreError

from mbc_cli.errors import ExitCode
from tests.support.run_mbc import RunMbc
from tests.support.store.operations import SMALL, make_record

HUGE = "9" * 20


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with store.transaction("encode", "m") as transaction:
        transaction.upsert([make_record("mill", 1)])
    return tmp_path / "s.mbc"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["memory", "show", "mill\udcff"], r"the id 'mill\udcff' is not valid UTF-8"),
        (["memory", "forget", "mill", "x\udcff", "--yes"], r"the id 'x\udcff' is not valid UTF-8"),
        (["query", "Who\udcff?"], r"question 1 is not valid UTF-8: 'Who\udcff?'"),
        (["memory", "gc", "--older-than", "²d"], "--older-than received '²d'"),
        (["memory", "gc", "--older-than", f"{HUGE}d"], f"--older-than received '{HUGE}d'"),
        (["memory", "gc", "--older-than", "999999999d"], "--older-than received '999999999d'"),
        (["memory", "gc", "--older-than", "800000d"], "--older-than received '800000d'"),
        (["memory", "gc", "--older-than", "d"], "--older-than received 'd'"),
        (["memory", "list", "--limit", HUGE], "'--limit': Input should be less than or equal to 2147483647"),
        (
            ["memory", "list", "--offset", HUGE],
            "'--offset': Input should be less than or equal to 2147483647",
        ),
        (["query", "Who?", "--batch-size", HUGE], "'--batch-size': Input should be less"),
        (["encode", "-", "--window", HUGE], "'--window': Input should be less"),
        (["demo", "--seed", HUGE], "'--seed': Input should be less"),
        (
            ["adapt", "x", "--preset", "news-small", "-o", "o", "--set", f"training.seed={'9' * 5000}"],
            "5,000 digits",
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_what_no_one_can_mean_is_one_line(mbc: RunMbc, store: Path, arguments: list[str], told: str) -> None:
    where = ["--store", store] if arguments[0] in ("memory", "query", "encode") else []
    result = mbc(*arguments, *where)
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    first, *hints = result.err.splitlines()
    assert told in first
    assert all(hint.startswith("hint: ") for hint in hints)


def test_the_home_of_nobody_and_a_device_without_data_are_named(mbc: RunMbc, tmp_path: Path) -> None:
    for arguments in (["memory", "list", "--store", "~no-one/x"], ["encode", "-", "--adapter", "~no-one/x"]):
        result = mbc(
            *arguments, *(["--store", tmp_path / "s.mbc"] if arguments[0] == "encode" else []), stdin=b"t"
        )
        assert result.code == ExitCode.FAILED
        assert result.err.splitlines()[-1] == "error: '~no-one/x' names the home of a user who is not known"
    result = mbc("encode", "-", "--device", "meta", "--store", tmp_path / "s.mbc", stdin=b"t")
    assert result.code == ExitCode.FAILED
    assert result.err.startswith("error: device 'meta' cannot be used")


SECRETS = [
    "s3://KEY:SECRET@bucket/p",
    "s3://KEY:SEC/SECRET@bucket/p",
    "gs://SECRET@bucket/p",
    "https://me:SECRET@host/x",
    "file://me:SECRET@host/x",
    "s3:/KEY:SECRET@bucket/p",
    "S3://KEY:SECRET@bucket/p",
]


@pytest.mark.parametrize("url", SECRETS)
def test_credentials_in_a_url_are_refused_and_never_repeated(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="holds credentials") as raised:
        MemoryStore.open(url)
    assert "SECRET" not in str(raised.value)
    Path("c.yaml").write_text(json.dumps({"store": url}))
    for arguments in (
        ["memory", "list", "--store", url],
        ["memory", "list", f"--store={url}"],
        ["memory", "copy", url],
        ["encode", url],
        ["encode", "-", "--adapter", url, "--json"],
        ["evaluate", "--documents", url],
        ["--config", "c.yaml", "memory", "list"],
    ):
        result = mbc("--verbose", *arguments)
        assert result.code == ExitCode.USAGE
        assert "holds credentials" in result.err
        assert "SECRET" not in result.out + result.err
    monkeypatch.setenv("MBC_STORE", url)
    result = mbc("memory", "info", "--json", "--verbose")
    assert result.code == ExitCode.USAGE
    assert "SECRET" not in result.out + result.err


@pytest.mark.parametrize(
    "text", ["http://localhost:80/a@b", "s3://bucket/me@home", "a@b", "C:/me@x", "who: me@x?"]
)
def test_what_holds_no_credentials_is_not_taken_for_them(mbc: RunMbc, tmp_path: Path, text: str) -> None:
    assert "holds credentials" not in mbc("query", text, "--store", tmp_path / "none").err
