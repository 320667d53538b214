"""The command as a whole: quick to answer, helpful, and honest in its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mbc_store import StoreError

from mbc_cli import __version__
from mbc_cli.cli.app import COMMANDS, as_mbc_error, build_command, leaf_commands
from mbc_cli.cli.settings import SET_WITHOUT_ASKING
from mbc_cli.errors import ExitCode, UsageError
from tests.support.run_mbc import RunMbc, process_environment, run_process

HEAVY = {"torch", "transformers", "pydantic", "zarr", "icechunk", "numpy", "pyarrow", "yaml", "click", "peft"}
ROOT = Path(__file__).parents[2]


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``code``."""
    script = (
        f"{code}\nimport sys, json; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_imports_nothing_heavy() -> None:
    code = """
import contextlib, io
from mbc_cli import __version__
from mbc_cli.cli.app import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
"""
    assert modules_after(code) & HEAVY == set()


def test_help_costs_under_half_a_second_of_processor_time() -> None:
    code = """
import contextlib, io, os, sys
from mbc_cli import __version__
from mbc_cli.cli.app import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["--help"])
print(os.times().user)
"""
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(runs) < 0.5


def test_every_command_is_there_with_examples_and_the_common_options() -> None:
    leaves = leaf_commands(build_command())
    assert {name.split()[0] for name in leaves} == set(COMMANDS)
    for name, leaf in leaves.items():
        examples = [line.strip() for line in leaf.help.partition("Examples:")[2].splitlines() if line.strip()]
        assert 2 <= len(examples) <= 4, name
        assert all("mbc " in example for example in examples), name
        assert {"quiet", "verbose"} <= {parameter.name for parameter in leaf.params}, name


def test_every_example_has_options_that_exist() -> None:
    leaves = leaf_commands(build_command())
    for name, leaf in leaves.items():
        known = {
            option for parameter in leaf.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for line in leaf.help.partition("Examples:")[2].splitlines():
            call = line.partition(f"mbc {name}")[2].partition("|")[0]
            used = {word for word in call.split() if word.startswith("-") and word != "-"}
            assert used <= known, line


def test_docs_are_what_the_help_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_cli.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_misspelt_command_is_a_usage_error_that_names_the_nearest(mbc: RunMbc) -> None:
    result = mbc("encdoe")
    assert result.code == ExitCode.USAGE
    assert "'encode'" in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    ("arguments", "message", "command"),
    [
        (["encode"], "missing argument 'CORPUS...'", "mbc encode"),
        (["encode", "x", "--bogus"], "no such option: --bogus", "mbc encode"),
        (["query", "x", "--batch-size", "0"], "invalid value for '--batch-size'", "mbc query"),
        (["query", "x", "--on-error", "no"], "'no' is not one of 'skip', 'fail'", "mbc query"),
        (["memory", "show"], "missing argument 'ID'", "mbc memory show"),
    ],
)
def test_wrong_usage_is_one_line_and_where_to_read_on(
    mbc: RunMbc, arguments: list[str], message: str, command: str
) -> None:
    result = mbc(*arguments)
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    error, hint = result.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint == f"hint: see {command} --help"


@pytest.mark.parametrize("arguments", [[], ["memory"]])
def test_no_command_shows_the_help(mbc: RunMbc, arguments: list[str]) -> None:
    result = mbc(*arguments)
    assert result.code == ExitCode.USAGE
    assert "Usage: mbc" in result.out
    assert result.err == ""


def test_completion_knows_commands_and_options() -> None:
    changes = {"_MBC_COMPLETE": "complete_bash", "COMP_WORDS": "mbc enc", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['mbc']; from mbc_cli.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=process_environment(**changes),
        check=False,
    )
    assert done.stdout.split() == ["encode"]


def test_version_is_data_on_stdout(mbc: RunMbc) -> None:
    result = mbc("--version")
    assert result.code == 0
    assert result.out == f"mbc {__version__}\n"


def test_a_user_error_is_one_line_and_a_hint_without_a_traceback(mbc: RunMbc, tmp_path: Path) -> None:
    result = mbc("query", "Who?", "--store", tmp_path / "nothing")
    assert result.code == ExitCode.FAILED
    assert result.out == ""
    assert result.err.splitlines()[-2].startswith("error: ")
    assert result.err.splitlines()[-1].startswith("hint: ")
    assert "Traceback" not in result.err


def test_verbose_shows_where_an_error_came_from(mbc: RunMbc, tmp_path: Path) -> None:
    assert "Traceback" in mbc("query", "Who?", "--store", tmp_path / "nothing", "--verbose").err
    assert "Traceback" in mbc("--verbose", "query", "Who?", "--store", tmp_path / "nothing").err


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (UsageError("as it is"), 2, "as it is"),
        (StoreError("the store", "way out"), 1, "the store"),
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), 1, "a.yaml: No such file or directory"),
        (MemoryError(), 1, "out of memory"),
        (KeyError("x"), 1, "internal error: KeyError"),
    ],
)
def test_any_exception_becomes_one_line(failure: Exception, code: int, message: str) -> None:
    known = as_mbc_error(failure)
    assert known.exit_code == code
    assert message in known.message


def test_settings_go_flag_variable_file_default(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def store_asked_for(*flags: str) -> Any:
        line = next(
            line for line in mbc("query", "Who?", *flags).err.splitlines() if "there is no store" in line
        )
        return line.split()[-1]

    assert store_asked_for() == "memory.mbc"
    (tmp_path / "mbc.yaml").write_text("store: shared.mbc\n")
    assert store_asked_for() == "shared.mbc"
    (tmp_path / "mbc.yaml").write_text("store: shared.mbc\nquery:\n  store: section.mbc\n")
    assert store_asked_for() == "section.mbc"
    monkeypatch.setenv("MBC_STORE", "variable.mbc")
    assert store_asked_for() == "variable.mbc"
    assert store_asked_for("--store", "flag.mbc") == "flag.mbc"


def test_an_unknown_key_in_the_file_names_the_nearest(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mbc.yaml").write_text("encode:\n  batch_sise: 3\n")
    result = mbc("doctor")
    assert result.code == ExitCode.USAGE
    assert "mbc.yaml: command 'encode' has no option 'batch_sise'" in result.err
    assert "did you mean 'batch_size'?" in result.err


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ("yes: true", "set 'yes'"),
        ('"yes": true', "set 'yes'"),
        ("memory: {forget: {yes: true}}", "set 'yes'"),
        ("memory: {compact: {purge: true}}", "set 'purge'"),
        ("memory: {gc: {older-than: 0s}}", "set 'older_than'"),
        ("memory: {forget: {ids_from: all.txt}}", "set 'ids_from'"),
        ("memory: {forget: {ids: [a, b]}}", "set 'ids'"),
        ("memory: {forget: {since: 2026-05-01}}", "set 'since'"),
        ("memory: {copy: {destination: elsewhere.mbc}}", "set 'destination'"),
        ("query: {questions: [Who]}", "set 'questions'"),
        ("encode: {corpus: [/etc]}", "set 'corpus'"),
        ("adapter: ./evil", "set 'adapter'"),
        ("query: {base_model: attacker/evil}", "set 'base_model'"),
        ("evaluate: {folder: /home/me}", "set 'folder'"),
        ("adapt: {output_directory: ../elsewhere}", "set 'output_directory'"),
        ("quiet: true", "set 'quiet'"),
        ("store: s3://bucket/theirs", "name a store outside this folder ('s3://bucket/theirs')"),
        ("store: ../mine.mbc", "name a store outside this folder ('../mine.mbc')"),
        ("store: link/mine.mbc", "name a store outside this folder ('link/mine.mbc')"),
    ],
)
def test_a_file_that_nobody_named_cannot_consent_delete_load_or_write_elsewhere(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, refused: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    Path("mbc.yaml").write_text(content)
    result = mbc("adapter", "list")
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    assert result.err.splitlines() == [
        f"error: mbc.yaml was found here but not named, so it may not {refused}",
        "hint: to allow that, name it: mbc --config mbc.yaml ...",
    ]
    assert mbc("--config", "mbc.yaml", "adapter", "list").code == 0


def test_every_option_of_a_command_is_one_that_a_file_nobody_named_may_set_or_one_that_it_may_not() -> None:
    names = {str(option.name) for leaf in leaf_commands(build_command()).values() for option in leaf.params}
    assert names >= SET_WITHOUT_ASKING
    arguments = {
        str(argument.name)
        for leaf in leaf_commands(build_command()).values()
        for argument in leaf.params
        if argument.param_type_name == "argument"
    }
    assert not SET_WITHOUT_ASKING & (
        arguments
        | {"yes", "purge", "delete", "adapter", "base_model", "ids_from", "output_directory", "resume"}
    )


def test_a_file_that_was_read_without_being_named_is_told_unless_quiet(
    mbc: RunMbc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mbc.yaml").write_text("batch_size: 3\n")
    assert mbc("adapter", "list").err == "settings from mbc.yaml\n"
    assert mbc("adapter", "list", "--quiet").err == ""
    assert mbc("--quiet", "adapter", "list").err == ""
    assert mbc("--config", "mbc.yaml", "adapter", "list").err == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("store: yes", "'store' is True"),
        ("store: [[a]]", "'store' is [['a']]"),
        ("batch_size: {a: 1}", "'batch_size' is {'a': 1}"),
        ("encode: 3", "section 'encode' is 3"),
        ("- a", "holds list at its top level"),
        ("a: " + "[" * 500 + "]" * 500, "nests deeper than 64"),
        (f"batch_size: {'9' * 5000}", "a number of 5,000 digits"),
        ("batch_size: 99999999999999999999", "less than or equal to 2147483647"),
        ("store: 2026-99-99", "not valid YAML"),
        ("1: 2", "unknown key '1'"),
        ("a: &a [x]\nb: *a", "alias"),
        ("batch_size: 1" + " " * 2**20, "larger than 1,048,576 bytes"),
    ],
    ids=range(12),
)
def test_a_file_of_settings_that_makes_no_sense_is_one_clear_line(
    mbc: RunMbc, tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    for arguments in (["encode", "-"], ["query", "Who?"]):
        result = mbc("--config", tmp_path / "c.yaml", *arguments, "--store", tmp_path / "none.mbc")
        assert result.code == ExitCode.USAGE
        assert len([line for line in result.err.splitlines() if not line.startswith("hint: ")]) == 1
        assert told in result.err
    assert not (tmp_path / "none.mbc").exists()


def test_yes_needs_no_quotes_in_a_file_that_was_named(
    mbc: RunMbc, tmp_path: Path, adapter_directory: Path
) -> None:
    store = tmp_path / "s.mbc"
    mbc("encode", "-", "--store", store, "--adapter", adapter_directory, stdin=b"The mill burnt down.\n")
    (tmp_path / "c.yaml").write_text("memory:\n  forget:\n    yes: true\n")
    done = mbc("--config", tmp_path / "c.yaml", "memory", "forget", "--until", "2026-01-01", "--store", store)
    assert (done.code, done.err) == (0, "")
    identifier = json.loads(mbc("memory", "list", "--json", "--store", store).out)["id"]
    assert mbc("memory", "forget", identifier, "--store", store).code == ExitCode.USAGE
    assert mbc("--config", tmp_path / "c.yaml", "memory", "forget", identifier, "--store", store).code == 0
    (tmp_path / "c.yaml").write_text("yes: true\n")
    assert mbc("--config", tmp_path / "c.yaml", "memory", "forget", identifier, "--store", store).code == 1


@pytest.mark.slow
def test_without_a_terminal_and_with_no_color_there_are_no_escape_codes(tmp_path: Path) -> None:
    for arguments in (["--help"], ["adapter", "list"], ["query", "Who?", "--store", str(tmp_path / "no")]):
        result = run_process(*arguments, NO_COLOR="1")
        assert "\x1b" not in result.out + result.err
