"""The same store in a bucket of S3 and of Google Cloud Storage: servers on loopback, started here."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from mbc_store import Counts, MemoryStore, StoreError, StoreInUse
from mbc_store.errors import StoreExists, StoreNotFound
from mbc_store.location import Location
from mbc_store.repository import PURGING

from tests.support.google_server import GoogleServer, google_server
from tests.support.store import SMALL, make_record, make_records, state_of

SERVICE_ACCOUNT = "keeper@project.example"


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleServer]:
    with google_server(page=7) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """An empty bucket that the environment leads to."""
    import boto3

    environment = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="module")
def google_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a service account's key, made here."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "client_email": SERVICE_ACCOUNT, "client_id": "1"}
    path = tmp_path_factory.mktemp("google") / "key.json"
    path.write_text(json.dumps(account | {"private_key": pem.decode(), "private_key_id": "1"}))
    return path


@pytest.fixture
def google_bucket(
    google: GoogleServer, google_key: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """An empty bucket that the environment leads to."""
    monkeypatch.setenv("GOOGLE_BASE_URL", google.url)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(google_key))
    name = f"bucket-{abs(hash(request.node.name))}"
    google.buckets[name] = {}
    return f"gs://{name}"


@pytest.fixture(params=["s3_bucket", "google_bucket"])
def bucket(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


def test_a_store_lives_in_a_bucket(bucket: str) -> None:
    where = f"{bucket}/memories/one"
    assert not MemoryStore.exists(where)
    store = MemoryStore.create(where, SMALL)
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 10))
    with store.transaction("change") as transaction:
        transaction.upsert([make_record("doc-1", 50)])
        transaction.forget(["doc-2"])
    assert transaction.counts == Counts(replaced=1, forgotten=1)
    expected = {f"doc-{n}": n + 1 for n in range(10) if n != 2} | {"doc-1": 50}
    assert state_of(MemoryStore.open(where, fingerprint="test")) == expected
    store.compact()
    assert state_of(MemoryStore.open(where, at=store.history()[2].id)) == {
        f"doc-{n}": n + 1 for n in range(10)
    }
    assert store.gc(older_than=timedelta(0), grace=timedelta(0)).objects_deleted > 0
    assert state_of(MemoryStore.open(where)) == expected
    with pytest.raises(StoreExists):
        MemoryStore.create(where, SMALL)


def test_a_copy_travels_to_a_bucket_and_back(bucket: str, store: MemoryStore, tmp_path: Path) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 20))
    remote = store.copy_to(f"{bucket}/copy")
    assert state_of(remote) == state_of(store)
    back = remote.copy_to(tmp_path / "back")
    assert state_of(back) == state_of(store)
    assert back.merge(remote) == Counts(unchanged=20)


@pytest.mark.slow
def test_a_purge_in_a_bucket_loses_nothing_that_others_commit_meanwhile(bucket: str) -> None:
    where = f"{bucket}/purged"
    store = MemoryStore.create(where, SMALL)
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 10))
    store.tag("before")
    with store.transaction("forget") as transaction:
        transaction.forget(["doc-4"])

    def write() -> None:
        writer = MemoryStore.open(where)
        for number in range(100, 108):
            with writer.transaction("meanwhile") as one:
                one.upsert(make_records(number, 1))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for _ in range(3):
            store.compact(purge=True)
        writing.result()
    purged = store.compact(purge=True)
    assert (purged.purged, store.tags()) == (True, {})
    expected = {f"doc-{n}": n + 1 for n in (*range(10), *range(100, 108)) if n != 4}
    assert state_of(MemoryStore.open(where)) == expected
    assert {commit.operation for commit in store.history()} == {"compact"}


def test_writers_wait_for_an_interrupted_purge_until_it_is_run_again(bucket: str) -> None:
    store = MemoryStore.create(f"{bucket}/interrupted", SMALL)
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 3))
    oldest = list(store.repository.ancestry())[-1].id
    store.repository.icechunk.create_branch(PURGING, oldest)
    with pytest.raises(StoreInUse, match="in the middle of a purge"):
        store.repository.wait_for_purge(timeout=0)
    assert state_of(store) == {"doc-0": 1, "doc-1": 2, "doc-2": 3}
    store.compact(purge=True)
    store.repository.wait_for_purge(timeout=0)
    with store.transaction("goes on") as transaction:
        transaction.upsert(make_records(3, 1))
    assert len(state_of(store)) == 4


def test_tags_and_rollback_work_in_a_bucket(bucket: str) -> None:
    store = MemoryStore.create(f"{bucket}/tagged", SMALL)
    for number in range(3):
        with store.transaction("load") as transaction:
            transaction.upsert([make_record(f"doc-{number}", number + 1)])
    tagged = store.tag("two", at=store.history()[1].id)
    assert store.tags() == {"two": tagged}
    assert state_of(MemoryStore.open(store.location, at="two")) == {"doc-0": 1, "doc-1": 2}
    store.rollback("two")
    assert state_of(MemoryStore.open(store.location)) == {"doc-0": 1, "doc-1": 2}
    store.delete_tag("two")
    assert "two" not in store.tags()


def test_pruning_in_a_bucket_lets_go_of_what_is_older_than_all_that_stays(bucket: str) -> None:
    store = MemoryStore.create(f"{bucket}/pruned", SMALL)
    for n in range(4):
        with store.transaction("encode") as transaction:
            transaction.upsert(make_records(5 * n, 5))
    assert store.prune(keep_last=2).commits_expired == 3
    assert [commit.documents for commit in store.history()] == [20, 15]
    assert len(state_of(MemoryStore.open(f"{bucket}/pruned"))) == 20


def test_a_writer_that_was_overtaken_tries_again_on_the_new_head(bucket: str) -> None:
    where = f"{bucket}/two-writers"
    first = MemoryStore.create(where, SMALL)
    second = MemoryStore.open(where)
    attempts = []

    def change(session):
        from mbc_store.changes import apply_changes
        from mbc_store.columns import Columns

        attempts.append(session.snapshot_id)
        if len(attempts) == 1:
            with second.transaction("overtakes") as transaction:
                transaction.upsert([make_record("theirs", 2)])
        return apply_changes(Columns(session, where), {"ours": make_record("ours", 1)}, "encode")[0]

    first.repository.commit("ours", change)
    assert len(set(attempts)) == 2
    assert state_of(first) == {"ours": 1, "theirs": 2}


@pytest.mark.slow
def test_writers_in_a_bucket_lose_nothing_to_each_other(bucket: str) -> None:
    where = f"{bucket}/crowd"
    MemoryStore.create(where, SMALL)

    def write(writer: int) -> None:
        store = MemoryStore.open(where)
        for number in range(3):
            with store.transaction("load") as transaction:
                transaction.upsert([make_record(f"doc-{writer}-{number}", 1)])

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    store = MemoryStore.open(where)
    assert state_of(store) == {f"doc-{writer}-{number}": 1 for writer in range(4) for number in range(3)}
    assert store.verify() == []


def test_a_missing_bucket_or_store_is_one_clear_error(bucket: str) -> None:
    with pytest.raises(StoreNotFound):
        MemoryStore.open(f"{bucket}/nothing")
    scheme = bucket.partition("://")[0]
    with pytest.raises(StoreError):
        MemoryStore.open(f"{scheme}://no-such-bucket-anywhere/x")


@pytest.mark.parametrize("wrong", ["", "ftp://host/x", "s3://bucket", "gs://", "s3:///x"])
def test_a_location_that_names_no_place_is_refused(wrong: str) -> None:
    with pytest.raises(StoreError):
        Location.parse(wrong)


def test_google_storage_is_addressed_by_bucket_and_prefix() -> None:
    location = Location.parse("gs://bucket/some/prefix")
    assert (location.scheme, location.bucket, location.prefix, location.path) == (
        "gs",
        "bucket",
        "some/prefix",
        None,
    )


def test_writes_to_google_storage_are_signed_by_the_service_account(
    google: GoogleServer, google_bucket: str
) -> None:
    google.tokens.clear()
    MemoryStore.create(f"{google_bucket}/signed", SMALL)
    issuers = {json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))["iss"] for token in google.tokens}
    assert issuers == {SERVICE_ACCOUNT}


def test_a_public_google_bucket_is_read_without_credentials(
    google_bucket: str, store: MemoryStore, google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 3))
    where = f"{google_bucket}/public"
    store.copy_to(where)
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    google.tokens.clear()
    assert state_of(MemoryStore.open(where)) == state_of(store)
    assert not google.tokens


def test_missing_credentials_are_named_as_the_reason(
    google: GoogleServer, google_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT")
    monkeypatch.setenv("GCE_METADATA_HOST", google.url.removeprefix("http://"))  # which knows no account
    with pytest.raises(StoreError, match="refuses the credentials, or there are none") as failure:
        MemoryStore.create(f"{google_bucket}/unsigned", SMALL)
    assert "GOOGLE_" in (failure.value.hint or "")
