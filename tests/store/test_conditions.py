"""Conditions on metadata: what a person means by them, whatever type a value has."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from mbc_store import Condition, MemoryStore, StoreError, StoreWarning
from mbc_store.conditions import conditions

from tests.support.store import SMALL, make_record

VALUES: dict[str, Any] = {
    "year": 1987,
    "price": 2.50,
    "open": True,
    "code": "007",
    "name": "Harbour Museum",
    "tags": ["sea", "old"],
    "closed": None,
    "place": {"town": "Lindholm", "floor": 3},
    "long": 12345678901234567890,
    "day": "2026-05-01",
    "empty": "",
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("year=1987", True),
        ("year=1987.0", True),
        ("year=1.987e3", True),
        ("year=1988", False),
        ("year!=1988", True),
        ("year>=1987", True),
        ("year>1987", False),
        ("year<1990.5", True),
        ("year<abc", False),
        ("year~98", True),
        ("price=2.5", True),
        ("price<=2.50", True),
        ("open=true", True),
        ("open=True", True),
        ("open!=false", True),
        ("open=1", False),
        ("code=007", True),
        ("code=7", False),
        ("name=Harbour Museum", True),
        ("name~museum", True),
        ("name~sea", False),
        ("name<Z", True),
        ("tags=sea", True),
        ("tags=new", False),
        ("tags!=sea", False),
        ("tags!=new", True),
        ("tags~ol", True),
        ("closed=null", True),
        ("closed!=null", False),
        ("place.town=Lindholm", True),
        ("place.floor>2", True),
        ("place.street=x", False),
        ("long=12345678901234567890", True),
        ("long=12345678901234567891", False),
        ("day>=2026-04-30", True),
        ("day<2026-05-01", False),
        ("empty=", True),
        ("missing=x", False),
        ("missing!=x", True),
        ("missing<5", False),
        ("missing~", False),
    ],
)
def test_a_condition_holds_as_a_person_means_it(text: str, holds: bool) -> None:
    assert Condition.parse(text).holds(VALUES) is holds


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [("year", 1987, True), ("year", "1987", True), ("open", True, True), ("open", False, False),
     ("code", 7, True), ("closed", None, True), ("name", None, False)],
)  # fmt: skip
def test_values_may_have_the_types_of_json(key: str, value: Any, holds: bool) -> None:
    assert conditions({key: value})[0].holds(VALUES) is holds


def test_the_first_operator_parts_key_and_value() -> None:
    assert Condition.parse("url=https://a.b/?x=1>2") == Condition("url", "=", "https://a.b/?x=1>2")
    assert Condition.parse(" year >= 2021 ") == Condition("year", ">=", "2021")


@pytest.mark.parametrize("text", ["year", "=3", "", ">", "~x"])
def test_what_is_no_condition_says_how_to_write_one(text: str) -> None:
    with pytest.raises(StoreError, match="such as year>=2021"):
        Condition.parse(text)


@pytest.fixture
def tagged(tmp_path: Path) -> MemoryStore:
    """Documents tagged draft, old and both, of three years."""
    store = MemoryStore.create(tmp_path / "s", SMALL)
    with store.transaction("load") as transaction:
        transaction.upsert(
            [
                make_record("both", 1, metadata={"tags": ["draft", "old"], "year": 2020}),
                make_record("draft", 2, metadata={"tags": ["draft"], "year": 2021.0}),
                make_record("old", 3, metadata={"tags": ["old"], "year": "2022"}),
                make_record("bare", 4),
            ]
        )
    return store


def test_all_conditions_hold_those_on_one_key_too(tagged: MemoryStore) -> None:
    with tagged.snapshot() as snapshot:
        assert snapshot.matching_ids(where=["tags=draft", "tags=old"]) == ["both"]
        assert snapshot.matching_ids(where=["year>=2020", "year<2022"]) == ["both", "draft"]
        assert snapshot.matching_ids(where=["tags!=old"]) == ["draft", "bare"]
        assert snapshot.matching_ids(where={"year": 2021}) == ["draft"]


def test_a_key_that_no_document_has_is_named_with_the_nearest(tagged: MemoryStore) -> None:
    with tagged.snapshot() as snapshot:
        with pytest.warns(StoreWarning, match="no document has the metadata key 'yaer': did you mean 'year'"):
            assert snapshot.matching_ids(where=["yaer=2021"]) == []
        with warnings.catch_warnings(record=True) as told:
            snapshot.matching_ids(where=["year=1500"])
        assert told == []
