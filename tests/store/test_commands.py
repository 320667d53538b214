"""``mbc memory`` on a real store, through the real command line."""

from __future__ import annotations

import io
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mbc_store import MemoryStore

from mbc_cli.cli.app import main
from tests.support.store import SMALL, make_record, make_records, state_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(store: MemoryStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``mbc memory ...`` on ``store``: exit code, stdout, stderr."""
    monkeypatch.setenv("MBC_STORE", str(store.location))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as finished:
            main(["memory", *arguments])
        captured = capsys.readouterr()
        return int(finished.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def filled(store: MemoryStore) -> MemoryStore:
    with store.transaction("load") as transaction:
        transaction.upsert(
            [
                make_record(
                    f"doc-{n}",
                    n + 1,
                    timestamp=n * 86_400_000_000,
                    metadata={"source": "ab"[n % 2]},
                    title=f"T{n}",
                )
                for n in range(6)
            ]
        )
    return store


def test_history_compares_each_commit_with_what_the_adapter_was_trained_on(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = MemoryStore.create(tmp_path / "trained", replace(SMALL, quantization_error=0.5))
    for number, error in enumerate((0.5, 0.25, 2.0, None)):
        with trained.transaction("some") as transaction:
            transaction.upsert([replace(make_record(f"doc-{number}", number), quantization_error=error)])
    monkeypatch.setenv("MBC_STORE", str(trained.location))
    lines = [json.loads(line) for line in run("history", "--json")[1].splitlines()]
    assert [line["drift"] for line in lines] == [None, 4.0, 0.5, 1.0, None]
    assert "drift" in run("history")[1]


def result(run: Run, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.usefixtures("filled")
def test_info_weighs_documents_and_codes(run: Run, filled: MemoryStore) -> None:
    found = result(run, "info")
    assert (found["documents"], found["commits"], found["fingerprint"]) == (6, 2, "test")
    assert found["code_bytes"] == filled.info().code_bytes
    assert found["bytes"] == sum(found["array_bytes"].values())
    code, out, _ = run("info")
    assert code == 0
    assert "passages/codes" in out


@pytest.mark.usefixtures("filled")
def test_list_filters_and_pages(run: Run) -> None:
    code, out, _ = run("list", "--where", "source=b", "--since", "1970-01-03", "--json")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["doc-3", "doc-5"]
    code, out, _ = run("list", "--offset", "1", "--limit", "1", "--json")
    assert [json.loads(line)["time"] for line in out.splitlines()] == ["1970-01-02T00:00:00Z"]


@pytest.mark.usefixtures("filled")
def test_show_gives_text_and_codes(run: Run) -> None:
    record = make_record("doc-2", 3)
    found = result(run, "show", "doc-2", "--codes")
    assert (found["text"], found["codes"]) == (record.text, record.codes.tolist())
    code, _, err = run("show", "nobody")
    assert code == 1
    assert "no document 'nobody'" in err


def test_forget_by_id_file_and_condition(run: Run, filled: MemoryStore, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("doc-0\n")
    assert result(run, "forget", "--ids-from", str(ids), "--yes") == {"forgotten": 1, "not_found": 0}
    assert result(run, "forget", "--where", "source=b", "--dry-run")["would_forget"] == [
        "doc-1",
        "doc-3",
        "doc-5",
    ]
    assert len(state_of(filled)) == 5
    assert result(run, "forget", "--where", "source=b", "--until", "1970-01-04", "--yes")["forgotten"] == 1
    assert set(state_of(filled)) == {"doc-2", "doc-3", "doc-4", "doc-5"}


def test_an_id_that_is_not_there_is_named_and_fails_and_the_others_are_forgotten(
    run: Run, filled: MemoryStore
) -> None:
    assert run("forget", "doc-0", "nobody", "--dry-run")[0] == 1
    code, out, err = run("forget", "doc-0", "nobody", "nobody", "doc-1", "--yes", "--json")
    assert (code, json.loads(out)) == (1, {"forgotten": 2, "not_found": 1})
    assert "holds no document 'nobody'" in err
    assert set(state_of(filled)) == {"doc-2", "doc-3", "doc-4", "doc-5"}


def test_missing_ids_can_be_ignored(run: Run, filled: MemoryStore) -> None:
    code, out, err = run("forget", "doc-0", "nobody", "--ignore-missing", "--yes", "--json")
    assert (code, json.loads(out), err) == (0, {"forgotten": 1, "not_found": 1}, "")
    assert len(state_of(filled)) == 5


def test_a_file_of_ids_is_read_as_encode_reads_files(run: Run, filled: MemoryStore, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_bytes("\ufeffdoc-0\r\n\r\ndoc\u2028-1\ndoc-2".encode())
    code, out, err = run("forget", "--ids-from", str(ids), "--yes", "--json")
    assert (code, json.loads(out)) == (1, {"forgotten": 2, "not_found": 1})
    assert r"no document 'doc\u2028-1'" in err
    ids.write_bytes(b"doc-3\ndoc-\xff\n")
    code, _, err = run("forget", "--ids-from", str(ids), "--yes")
    assert (code, err) == (2, f"error: {ids}:2: invalid UTF-8 (byte 0xff at offset 4)\n")
    code, _, err = run("forget", "--ids-from", str(tmp_path / "none"), "--yes")
    assert (code, err) == (2, f"error: there is no file {tmp_path / 'none'}\n")
    assert "doc-3" in state_of(filled)


def test_an_empty_list_of_ids_forgets_nothing(
    run: Run, filled: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO())))
    assert result(run, "forget", "--ids-from", "-") == {"forgotten": 0, "not_found": 0}
    assert len(state_of(filled)) == 6


def test_of_many_missing_ids_the_first_are_named_and_all_are_counted(
    run: Run, filled: MemoryStore, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"nobody-{n}\n" for n in range(30)))
    code, _, err = run("forget", "--ids-from", str(ids), "--yes")
    assert (code, err.count("holds no document"), len(state_of(filled))) == (1, 20, 6)
    assert "30 ids in all" in err


@pytest.mark.parametrize(
    "arguments", [[], ["doc-1", "--where", "a=b"], ["--where", "novalue"], ["--since", "x"]]
)
def test_forgetting_without_saying_what_is_a_usage_error(
    run: Run, filled: MemoryStore, arguments: list
) -> None:
    assert run("forget", *arguments, "--yes")[0] == 2
    assert len(state_of(filled)) == 6


@pytest.mark.parametrize("command", [["forget", "doc-1"], ["compact", "--purge"], ["rollback", "tagged"]])
def test_nothing_is_destroyed_without_being_asked(run: Run, filled: MemoryStore, command: list[str]) -> None:
    filled.tag("tagged")
    with filled.transaction("more") as transaction:
        transaction.upsert([make_record("later", 50)])
    before = filled.history()
    code, _, err = run(*command)
    assert code == 2
    assert "--yes" in err
    assert run(*command, "--dry-run")[0] == 0
    assert filled.history() == before


def test_tag_diff_rollback_and_history_work_together(run: Run, filled: MemoryStore) -> None:
    head = filled.history()[0].id
    assert result(run, "tag", "v1") == {"tag": "v1", "snapshot": head}
    result(run, "forget", "doc-1", "--yes")
    found = result(run, "diff", "v1")
    assert (found["added"], found["removed"], found["changed"]) == ([], ["doc-1"], [])
    assert run("diff", "v1")[1] == "- doc-1\n"
    assert result(run, "rollback", "v1", "--yes")["undone"] == 1
    assert len(state_of(filled)) == 6
    lines = [json.loads(line) for line in run("history", "--json")[1].splitlines()]
    assert [(line["operation"], line["tags"]) for line in lines] == [("encode", ["v1"]), ("create", [])]
    assert result(run, "tag", "v1", "--delete") == {"deleted": "v1"}


def test_compact_and_gc_give_space_back(run: Run, filled: MemoryStore) -> None:
    result(run, "forget", "doc-1", "--yes")
    assert result(run, "compact", "--yes")["rows_removed"] > 0
    assert result(run, "gc", "--older-than", "0s", "--dry-run") == {"commits_expiring": 3}
    assert result(run, "gc", "--older-than", "0s", "--yes")["objects_deleted"] > 0
    assert result(run, "compact", "--purge", "--yes")["purged"] is True
    assert len(state_of(filled)) == 5
    assert run("gc", "--older-than", "soon")[0] == 2


def test_export_import_copy_and_merge_carry_a_memory_along(
    run: Run, filled: MemoryStore, tmp_path: Path
) -> None:
    assert result(run, "export", str(tmp_path / "out"))["documents"] == 6
    assert result(run, "import", str(tmp_path / "out"), "--store", str(tmp_path / "imported"))["added"] == 6
    assert state_of(MemoryStore.open(tmp_path / "imported")) == state_of(filled)
    assert result(run, "copy", str(tmp_path / "copy"))["documents"] == 6
    other = MemoryStore.create(tmp_path / "other", SMALL)
    with other.transaction("x") as transaction:
        transaction.upsert(make_records(5, 3))
    assert result(run, "merge", str(tmp_path / "other")) == {
        "added": 2,
        "replaced": 0,
        "unchanged": 1,
        "forgotten": 0,
    }


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk is like: no file can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 900, 3000])  # not even the header; not the codes; not the texts
def test_an_export_that_runs_out_of_room_names_its_folder_and_leaves_nothing(
    run: Run, filled: MemoryStore, tmp_path: Path, size: int
) -> None:
    with filled.transaction("long") as transaction:
        transaction.upsert([replace(make_record("long", 1), text="long " * 1000)])
    with files_of_at_most(size):
        code, out, err = run("export", str(tmp_path / "out"))
    assert (code, out) == (1, "")
    assert f"the export {tmp_path / 'out'} cannot be written: File too large" in err
    assert "unfinished" not in err
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/out", "Not a directory"),
        ("file/deep/out", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_an_export_to_a_place_that_cannot_be_written_names_it_and_the_reason(
    run: Run, tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    code, out, err = run("export", str(tmp_path / place))
    assert (code, out) == (1, "")
    assert f"the export {tmp_path / place} cannot be written: {reason}" in err


def test_an_export_may_have_the_longest_name_there_is(filled: MemoryStore, tmp_path: Path) -> None:
    assert filled.export_to(tmp_path / ("n" * 255)) == 6


def test_verify_and_repair_say_what_is_wrong(run: Run, filled: MemoryStore) -> None:
    assert result(run, "verify") == {"sound": True, "problems": []}
    assert result(run, "repair")["action"] == "none"
    for chunk in (filled.location.repository_path / "manifests").iterdir():
        chunk.write_bytes(chunk.read_bytes()[:-4])
    code, out, _ = run("verify", "--json")
    assert code == 1
    assert not json.loads(out)["sound"]
    assert run("repair")[0] == 2
    assert result(run, "repair", "--yes")["documents"] == 0
    assert result(run, "verify")["sound"]


def test_commands_agree_that_the_head_is_lost_and_repair_finds_it(run: Run, filled: MemoryStore) -> None:
    expected = state_of(filled)
    shutil.rmtree(filled.location.repository_path / "refs")
    for command in ("info", "list", "history", "verify", "compact", "gc"):
        code, out, err = run(command)
        assert (code, out) == (1, "")
        assert f"the store {filled.location} has lost its head" in err
        assert "`mbc memory repair`" in err
    for _ in range(2):
        plan = result(run, "repair", "--dry-run")
        assert (plan["action"], plan["documents"], len(plan["problems"])) == ("restore", 6, 1)
    assert result(run, "repair", "--yes")["documents"] == 6
    assert result(run, "verify")["sound"]
    assert state_of(MemoryStore.open(filled.location)) == expected


@pytest.mark.parametrize("command", ["info", "list", "history", "verify", "compact", "gc", "repair"])
def test_a_store_that_is_not_there_is_one_clear_line(run: Run, tmp_path: Path, command: str) -> None:
    code, out, err = run(command, "--store", str(tmp_path / "nowhere"))
    assert (code, out) == (1, "")
    assert "there is no store at" in err
    assert "Traceback" not in err
