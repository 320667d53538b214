"""``mbc memory repair``: what a repair keeps and loses is said, agreed to and done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.commands.memory_changes import write_result
from mbc_cli.cli.memory_options import DryRun, Yes
from mbc_cli.cli.options import DEFAULT_STORE, Adapter, Device, Json, Store
from mbc_cli.cli.problem_report import problem_lines

if TYPE_CHECKING:
    from mbc_store.repair import RepairPlan


def repair(
    store: Store = DEFAULT_STORE,
    reencode: Annotated[
        bool,
        typer.Option("--reencode", help="Encode documents again whose codes are lost and whose text is not."),
    ] = False,
    adapter: Adapter = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Bring a damaged memory back: says what would be kept and lost, and asks first.

    What can be read stays; what only an earlier snapshot still holds is taken from there; counts and index
    are made anew; history that cannot be read is cut off; what was forgotten is forgotten again. Nothing is
    deleted.

    Examples:

      mbc memory repair --dry-run --store news.mbc

      mbc memory repair --yes

      mbc memory repair --reencode --store news.mbc
    """
    from mbc_store import MemoryStore

    plan = MemoryStore.plan_repair(store)
    fields = asdict(plan)
    if not json:
        fields["problems"] = "\n".join(problem_lines(plan.problems)) or None
    if plan.action == "none" or dry_run:
        write_result(fields, json, texts=("problems",))
        return
    output.confirm(_question(plan, reencode), yes=yes)
    if not reencode or not plan.reencodable:
        MemoryStore.repair(store, plan)
        if plan.reencodable:
            output.warn(f"the texts of {plan.reencodable} lost documents could have been saved by --reencode")
    else:
        fields["reencoded"] = _repair_and_encode(store, plan, adapter, device)
    write_result(fields, json, texts=("problems",))


def _question(plan: RepairPlan, reencode: bool) -> str:
    """What a repair does, for whoever has to agree to it."""

    def number(count: int | None) -> str:
        return "an unknown number of" if count is None else str(count)

    parts = [
        f"{len(plan.problems)} problems. {plan.action.capitalize()} {plan.snapshot}: keep {plan.documents} "
        f"documents ({plan.recovered_documents} from earlier snapshots), lose {number(plan.lost_documents)} "
        f"documents, the texts of {plan.lost_details} and {plan.lost_commits} commits"
    ]
    if plan.forgotten_again:
        parts.append(f"{plan.forgotten_again} documents that were forgotten are forgotten again")
    if plan.returning != 0:
        parts.append(f"{number(plan.returning)} FORGOTTEN DOCUMENTS COME BACK")
    if plan.reverted != 0:
        parts.append(f"{number(plan.reverted)} documents go back to what they held before")
    if plan.reencodable:
        how = "are encoded again" if reencode else "can be encoded again (--reencode)"
        parts.append(f"{plan.reencodable} of the lost {how} from their texts")
    return "; ".join(parts) + "?"


def _repair_and_encode(store: str, plan: RepairPlan, adapter: str | None, device: str) -> int:
    """Repair ``store`` and encode what only has its text left; how many documents that saved.

    The texts lie in a file until they are encoded, so that nothing is lost where that fails.
    """
    import json

    from mbc_store import MemoryStore

    from mbc_cli.corpus.documents import Document
    from mbc_cli.corpus.times import format_timestamp
    from mbc_cli.memory import Memory

    kept = Path(f"{store.rstrip('/')}.salvaged.jsonl") if "://" not in store else Path("salvaged.jsonl")
    documents = list(MemoryStore.salvaged_texts(store, plan))
    with kept.open("x", encoding="utf-8") as file:
        for document in documents:
            line: dict[str, Any] = {"id": document.id, "title": document.title, "text": document.text}
            if document.timestamp is not None:
                line["timestamp"] = format_timestamp(document.timestamp)
            line |= {"metadata": dict(document.metadata)} if document.metadata else {}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    output.note(f"the texts of {len(documents)} documents are in {kept} until they are encoded")
    MemoryStore.repair(store, plan)
    memory = Memory.open(store, adapter, device=device)
    report = memory.encode(
        Document(one.id, one.text or "", one.title, one.timestamp, one.metadata) for one in documents
    )
    kept.unlink()
    return report.added + report.replaced
