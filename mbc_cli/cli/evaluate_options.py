"""How the values of ``mbc evaluate``'s options are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mbc_cli.errors import UsageError, nearest_hint


def sizes(text: str) -> list[int]:
    """``16,100,400`` as numbers."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(
            f"--bank-sizes received {text!r}; accepted: numbers parted by commas, such as 16,100,400"
        ) from None


def names(option: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    """``none,memory`` as names, each once, in order.

    Raises:
        UsageError: one is not among ``known``.
    """
    accepted = list(known)
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in found:
        if name not in accepted:
            raise UsageError(
                f"{option} received {name!r}; accepted: {', '.join(accepted)}", nearest_hint(name, accepted)
            )
    return found


def settings_by_name(assignments: Sequence[str], known: Iterable[str]) -> Mapping[str, Mapping[str, object]]:
    """``bm25.top_k=2`` as {"bm25": {"top_k": 2}}; values are read as YAML.

    Raises:
        UsageError: an assignment has another form, or names nothing among ``known``.
    """
    from mbc_cli.untrusted import UntrustedFileError, parse_yaml

    accepted = list(known)
    found: dict[str, dict[str, object]] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        name, dot, setting = key.strip().partition(".")
        if not (equals and dot and setting):
            raise UsageError(
                f"--set received {assignment!r}; accepted: name.key=value", "for example --set bm25.top_k=2"
            )
        if name not in accepted:
            raise UsageError(
                f"--set received {assignment!r}; there is no method or protocol {name!r}",
                nearest_hint(name, accepted),
            )
        try:
            found.setdefault(name, {})[setting] = parse_yaml(value)
        except UntrustedFileError as failure:
            raise UsageError(f"--set received {assignment!r}, whose value is no YAML: {failure}") from None
    return found
