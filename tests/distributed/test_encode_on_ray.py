"""What workers of Ray encode is what one process would have stored, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mbc_store import MemoryStore, StoreError

from mbc_cli.cli import ray_option
from mbc_cli.errors import UsageError
from tests.support.run_mbc import COMMAND, Process, Result, process_environment, run_process
from tests.support.store.contents import assert_same_contents

pytestmark = pytest.mark.slow
BLOCK = 300
OPTIONS = ("--adapter", "news", "--commit-every", str(BLOCK))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on loopback that the environment leads to: also that of the workers."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1")
        client.create_bucket(Bucket="shared")
        client.close()
        yield "s3://shared"
    server.stop()


def document(number: int, version: int = 0) -> str:
    """A line of JSONL."""
    text = f"Harbour master {number} of Lindholm counted {number * 7 % 1000} ships in version {version}. "
    fields = {"id": f"d{number}", "text": text * (1 + number % 9), "port": number % 5}
    return json.dumps(fields | ({"title": f"Log {number}"} if number % 3 else {})) + "\n"


def corpus(folder: Path, documents: int) -> Path:
    """Files of documents, some ids of which come again at once, in another file, or much later."""
    folder.mkdir()
    lines = [document(number) for number in range(documents)]
    lines[5:5] = [document(3, version=1), "no JSON\n", document(3)]
    half = len(lines) // 2
    (folder / "a.jsonl").write_text("".join(lines[:half]))
    (folder / "b.jsonl").write_text("".join([*lines[half:], document(7, version=2), '{"id": "no text"}\n']))
    return folder


def on_one_machine(given: Path, store: Path) -> Result:
    return run_process("encode", given, "--store", store, "--json", *OPTIONS)


def encoders_under(process: int) -> list[int]:
    """Ids of the processes below ``process`` that hold a model."""
    parents: dict[int, int] = {}
    names: dict[int, bytes] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue

    def is_below(child: int) -> bool:
        while child in parents and child != process:
            child = parents[child]
        return child == process

    return [
        n for n, name in names.items() if name.startswith(b"ray::") and b"Encoder" in name and is_below(n)
    ]


def wait_until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < deadline, f"no {what} in time"
        time.sleep(0.05)


def commits(store: Path | str) -> int:
    """How many commits hold documents."""
    try:
        return sum(commit.documents > 0 for commit in MemoryStore.open(store).history())
    except StoreError:  # it is being made
        return 0


def started(*arguments: str | Path) -> Process[bytes]:
    return Process(
        [*COMMAND, *map(str, arguments)],
        stdout=-1,
        stderr=-1,
        env=process_environment(OMP_NUM_THREADS="1"),
        start_new_session=True,
    )


def test_what_two_workers_store_is_what_one_process_stores(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.jsonl"
    # Known already: some as they will come, some with other content, one that changes and changes back.
    earlier.write_text("".join([document(3), document(7), document(8, version=4), document(9)]))
    given = corpus(tmp_path / "given", 1000)
    for name in ("one", "many"):
        assert on_one_machine(earlier, tmp_path / name).code == 0
    alone = on_one_machine(given, tmp_path / "one")

    options = ("--json", *OPTIONS, "--workers", "2", "--ray")
    together = run_process("encode", given, "--store", tmp_path / "many", *options, OMP_NUM_THREADS="1")

    assert together.code == alone.code == 3
    assert_same_contents(MemoryStore.open(tmp_path / "one"), MemoryStore.open(tmp_path / "many"))
    assert MemoryStore.open(tmp_path / "many").verify() == []
    reports = [json.loads(result.out) for result in (alone, together)]
    for report in reports:
        del report["store"], report["seconds"], report["documents_per_second"]
        # Of a document that comes again soon, one process encodes both versions before it looks.
        del report["passages"]
    assert reports[0] == reports[1]
    assert reports[0]["skipped"] == 2
    assert reports[0]["duplicates"] == 3
    assert together.err == alone.err


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_missing(tmp_path: Path, bucket: str) -> None:
    given = corpus(tmp_path / "given", 3000)
    store = f"{bucket}/killed"
    assert on_one_machine(given, tmp_path / "one").code == 3

    with started("encode", given, "--store", store, *OPTIONS, "--ray", "--workers", "1", "--json") as process:
        wait_until(lambda: commits(store), "commit")
        (encoder,) = encoders_under(process.pid)
        os.kill(encoder, signal.SIGKILL)
        out, err = process.communicate(timeout=120)

    assert process.returncode == 3, err
    assert json.loads(out)["added"] == 3000
    assert b"Traceback" not in err
    assert_same_contents(MemoryStore.open(tmp_path / "one"), MemoryStore.open(store))


def test_a_run_that_is_killed_and_one_that_is_interrupted_keep_what_they_have(tmp_path: Path) -> None:
    given = corpus(tmp_path / "given", 3000)
    store = tmp_path / "many"
    assert on_one_machine(given, tmp_path / "one").code == 3
    run = ("encode", given, "--store", store, *OPTIONS, "--workers", "1", "--ray")

    with started(*run) as process:
        wait_until(lambda: commits(store), "commit")
        family = encoders_under(process.pid)
        process.kill()
        process.wait()
    kept = commits(store)
    assert 0 < MemoryStore.open(store).snapshot().document_count < 3000
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in family), "end of the workers")

    with started(*run) as process:
        wait_until(lambda: commits(store) > kept, "further commit")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b""
    assert b"run it again to go on" in err
    assert b"Traceback" not in err
    assert 0 < MemoryStore.open(store).snapshot().document_count < 3000

    last = run_process(*run, "--json", OMP_NUM_THREADS="1")
    assert last.code == 3
    report = json.loads(last.out)
    assert report["unchanged"] >= BLOCK
    assert report["added"] + report["unchanged"] + report["replaced"] == 3001
    with MemoryStore.open(store).snapshot() as snapshot:
        assert snapshot.document_count == 3000
    assert_same_contents(MemoryStore.open(tmp_path / "one"), MemoryStore.open(store))


def test_ray_that_is_not_installed_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mbc: Callable[..., Result]
) -> None:
    monkeypatch.setattr("mbc_cli.distributed.cluster.find_spec", lambda name: None)
    given = tmp_path / "one.jsonl"
    given.write_text(document(1))
    result = mbc("encode", given, "--store", tmp_path / "store", "--ray")
    assert (result.code, result.out) == (1, "")
    assert "pip install 'mbc-memory[ray]'" in result.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--ray", "127.0.0.1:1"), 1, "there is no Ray cluster at '127.0.0.1:1'"),
        (("--ray=ray://127.0.0.1:1",), 2, "is no address of a cluster"),
        (("--ray=http://somewhere",), 2, "is no address of a cluster"),
        (("--workers", "2"), 2, "--workers goes with --ray"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_named_before_anything_is_done(
    options: tuple[str, ...], code: int, told: str, tmp_path: Path, mbc: Callable[..., Result]
) -> None:
    given = tmp_path / "one.jsonl"
    given.write_text(document(1))
    result = mbc("encode", given, "--store", tmp_path / "store", *options)
    assert result.code == code
    assert told in result.err
    assert not (tmp_path / "store").exists()


def test_a_pipe_is_read_here_only(tmp_path: Path, mbc: Callable[..., Result]) -> None:
    result = mbc("encode", "-", "--store", tmp_path / "store", "--ray", stdin=b"a text")
    assert result.code == 2
    assert "--ray reads files" in result.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["encode", "a", "--ray"], ["encode", "a", "--ray", "local"]),
        (["encode", "--ray", "a.jsonl", "b"], ["encode", "--ray", "local", "a.jsonl", "b"]),
        (["encode", "--ray", "--json", "a"], ["encode", "--ray", "local", "--json", "a"]),
        (["encode", "--ray", "auto", "a"], ["encode", "--ray", "auto", "a"]),
        (["encode", "--ray", "head:6379", "a"], ["encode", "--ray", "head:6379", "a"]),
        (["encode", "--ray=head:6379", "a"], ["encode", "--ray=head:6379", "a"]),
        (["encode", "--", "--ray"], ["encode", "--", "--ray"]),
    ],
)
def test_an_address_may_be_left_out(given: list[str], expected: list[str]) -> None:
    assert ray_option.spelled_out(given) == expected


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="no address"):
        ray_option.checked("news.jsonl")
