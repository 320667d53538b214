"""``/v1/memory/...``: remember, ask, search, look, forget."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from mbc_cli.server.choice import Choice
from mbc_cli.server.memory_forms import (
    AT,
    MOST_LISTED,
    Added,
    AnswerForm,
    Answers,
    Ask,
    CommitForm,
    DocumentForm,
    DocumentPage,
    DocumentSummary,
    ForgottenForm,
    Found,
    FoundAll,
    History,
    Info,
    NewDocument,
    NewDocuments,
)
from mbc_cli.server.running import Here

router = APIRouter(prefix="/v1/memory", tags=["memory"])

At = Annotated[str | None, Query(description=AT)]
Since = Annotated[str | None, Query(description="Only documents of this time or later.")]
Until = Annotated[str | None, Query(description="Only documents before this time.")]
Where = Annotated[list[str] | None, Query(description="Conditions such as year>=2021; all hold.")]


@router.post("/ask")
async def ask(asked: Ask, here: Here) -> Answers:
    """Answer one question or several from the memory."""
    answers = await here.with_model(here.service.answer, asked.choice(), asked.questions)
    for answer in answers:
        here.measures.count_answer(answer)
    return Answers(answers=[AnswerForm.of(answer) for answer in answers])


@router.post("/search")
async def search(asked: Ask, here: Here) -> FoundAll:
    """Find the passages that speak most to each question; the LLM answers nothing."""
    results = await here.with_model(here.service.search, asked.choice(), asked.questions)
    found = zip(asked.questions, results, strict=True)
    return FoundAll(results=[Found.of(question, sources) for question, sources in found])


@router.post("/documents", status_code=201)
async def add(sent: NewDocument | NewDocuments, here: Here) -> Added:
    """Remember one document or several: an id that is there already is replaced.

    Where one cannot be used none is stored. A request that takes too long leaves what was stored by then, and
    can be sent again.
    """
    documents = sent.documents if isinstance(sent, NewDocuments) else [sent]
    records = [document.model_dump(exclude_unset=True) for document in documents]
    ids, report = await here.writing(here.service.add, records, here.worker.give_way)
    here.measures.changed.labels("added").inc(report.added)
    here.measures.changed.labels("replaced").inc(report.replaced)
    return Added.of(ids, report)


@router.get("/documents")
async def documents(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    at: At = None,
) -> DocumentPage:
    """List documents, oldest first."""
    choice = Choice.of(since, until, where, at=at)
    found, more, in_memory = await here.without_model(
        here.service.documents, choice, offset=offset, limit=limit
    )
    return DocumentPage(
        documents=[DocumentSummary.of(document) for document in found],
        next_offset=offset + limit if more else None,
        in_memory=in_memory,
    )


@router.get("/documents/{identifier:path}")
async def document(identifier: str, here: Here, at: At = None) -> DocumentForm:
    """Show one document, and what its codes hold in words."""
    return DocumentForm.of(await here.without_model(here.service.document, identifier, at))


@router.delete("/documents/{identifier:path}")
async def forget(identifier: str, here: Here) -> ForgottenForm:
    """Forget one document. Earlier snapshots hold it until the store is compacted and purged."""
    forgotten = await here.writing(here.service.forget, [identifier], Choice())
    here.measures.changed.labels("forgotten").inc(len(forgotten.ids))
    return ForgottenForm.model_validate(forgotten)


@router.delete("/documents")
async def forget_many(
    here: Here,
    id: Annotated[list[str] | None, Query(description="Ids; or else conditions.")] = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    dry_run: bool = False,
) -> ForgottenForm:
    """Forget documents by their ids, or those of a time and of conditions; or only say which."""
    choice = Choice.of(since, until, where)
    forgotten = await here.writing(here.service.forget, id, choice, dry_run=dry_run)
    if not dry_run:
        here.measures.changed.labels("forgotten").inc(len(forgotten.ids))
    return ForgottenForm.model_validate(forgotten)


@router.get("/history")
async def history(here: Here, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50) -> History:
    """List the commits, newest first; each id can be given as ``at``."""
    commits = await here.without_model(here.service.history, limit)
    config = here.service.memory.store.config
    return History(commits=[CommitForm.of(commit, config) for commit in commits])


@router.get("/info")
async def info(here: Here, at: At = None) -> Info:
    """What the memory holds and weighs, array by array."""
    found = await here.without_model(here.service.info, at)
    service = here.service
    return Info.of(
        found, adapter=service.model_name, read_only=here.config.read_only, selects=service.memory.selects
    )
