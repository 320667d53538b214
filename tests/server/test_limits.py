"""Keys, names and limits, without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbc_cli import load_adapter
from mbc_cli.errors import UsageError
from mbc_cli.server.config import ServerConfig, is_loopback
from mbc_cli.server.keys import ApiKeys
from mbc_cli.server.limits import Limits, TokenCounter, as_stops, finish_reason
from tests.support.run_mbc import RunMbc
from tests.support.run_mbc import mbc as mbc

pytestmark = pytest.mark.slow  # loads an adapter

TEXT = "Mira Okafor opened the harbour museum."


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return TokenCounter(load_adapter("news").tokenizers)


def test_an_answer_has_as_many_tokens_as_asked_for_and_is_a_beginning(counter: TokenCounter) -> None:
    ends = counter.ends(TEXT)
    assert ends == sorted(ends)
    assert ends[-1] == len(TEXT)
    for tokens in range(1, len(ends) + 1):
        cut, reason = Limits(tokens).cut(TEXT, counter)
        assert TEXT.startswith(cut)
        assert len(counter.ends(cut)) <= tokens
        assert reason == ("length" if tokens < len(ends) else None)


def test_an_answer_ends_before_the_first_stop_whichever_it_is(counter: TokenCounter) -> None:
    assert Limits(stop=("harbour", "opened")).cut(TEXT, counter) == ("Mira Okafor ", "stop")
    assert Limits(stop=("nowhere",)).cut(TEXT, counter) == (TEXT, None)


@pytest.mark.parametrize("size", range(1, 7))
def test_a_stop_is_found_however_the_text_comes_and_none_of_it_is_shown(
    counter: TokenCounter, size: int
) -> None:
    limits = Limits(stop=("harbour",))
    text = shown = ""
    for start in range(0, len(TEXT), size):
        text += TEXT[start : start + size]
        cut, reason = limits.cut(text, counter)
        until = len(cut) if reason else len(text) - limits.held_back(text)
        shown += cut[len(shown) : until]
        if reason:
            break
    assert shown == "Mira Okafor opened the "


def test_the_reason_of_an_end_is_the_limit_that_was_met() -> None:
    assert finish_reason(None, 5, 16, abstained=False) == "stop"
    assert finish_reason(None, 16, 16, abstained=False) == "length"
    assert finish_reason("stop", 16, 16, abstained=False) == "stop"
    assert finish_reason(None, 0, 0, abstained=True) == "stop"
    assert (as_stops(None), as_stops("a"), as_stops(["a", ""])) == ((), ("a",), ("a",))


def test_a_server_for_other_machines_asks_for_a_key() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"):
        assert is_loopback(host)
        assert ServerConfig(host=host)
    for host in ("0.0.0.0", "::", "192.0.2.7", "localhost.example.org", ""):
        with pytest.raises(UsageError, match="no API key"):
            ServerConfig(host=host)
        assert ServerConfig(host=host, keys=ApiKeys.of(["k" * 16]))


def test_keys_are_in_no_text_of_theirs() -> None:
    keys = ApiKeys.of(["very-hidden-key-1", "very-hidden-key-2"])
    assert "hidden" not in repr(keys) + repr(ServerConfig(keys=keys))
    with pytest.raises(UsageError) as refused:
        ApiKeys.of(["hidden"])
    assert "hidden" not in str(refused.value)
    assert ApiKeys().admit(None)
    assert not keys.admit(None)


def test_without_its_packages_the_command_says_what_to_install(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbc_cli.cli.commands.serve.find_spec", lambda name: None)
    run = mbc("serve", "--store", tmp_path / "none.mbc", "--port", "0")
    assert run.code == 1
    assert "pip install 'mbc-memory[server]'" in run.err


def test_the_help_of_all_commands_loads_no_server() -> None:
    from tests.test_architecture import loaded_by, within

    loaded = loaded_by("from mbc_cli.cli.app import build_command; build_command()")
    assert within(loaded, "fastapi", "starlette", "uvicorn", "prometheus_client", "mbc_cli.server") == set()
