"""Waiting for the service without stopping others: threads, limits of time, one writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from mbc_cli.inference.answer import Answer
from mbc_cli.server.choice import Choice
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.failures import RequestFailure
from mbc_cli.server.measures import Measures
from mbc_cli.server.service import MemoryService
from mbc_cli.server.worker import ModelWorker, Operation, ServerBusy, Stream

Result = TypeVar("Result")

_READS_AT_ONCE = 4
_MOST_WRITERS = 16  # one that writes, and those that wait


class Running:
    """A service, its worker and its figures, for the addresses to use."""

    def __init__(self, service: MemoryService, config: ServerConfig) -> None:
        self.service = service
        self.config = config
        self.worker = ModelWorker(
            batch_size=config.batch_size,
            most_waiting=config.queue,
            on_batch=lambda size: self.measures.batches.observe(size),
            on_idle=service.memory.rest,
        )
        self.measures = Measures(
            waiting=lambda: self.worker.waiting, documents=lambda: service.memory.document_count
        )
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._writer = asyncio.Lock()
        self._writers = 0

    async def with_model(self, operation: Operation, choice: Choice, texts: Sequence[str]) -> list[Any]:
        """The results of ``operation`` for ``texts``, once it is their turn.

        Raises:
            MbcError, StoreError: as the operation; too many are waiting; or the time is over.
        """
        futures = [asyncio.wrap_future(each) for each in self.worker.submit(operation, choice, texts)]
        try:
            async with self._timed():
                return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()

    async def stream(self, choice: Choice, question: str) -> AsyncGenerator[Answer | str, None]:
        """An answer as it comes: what is known at once, pieces of text, the whole answer.

        Where others wait the text is one piece: answering together takes a fraction of the time.
        """
        if self.worker.is_crowded:
            (answer,) = await self.with_model(self.service.answer, choice, [question])
            yield answer
            if answer.text:
                yield answer.text
            yield answer
            return
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[Any, bool]] = asyncio.Queue()

        def put(item: Any, *, last: bool = False) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, (item, last))

        stream = Stream(
            begin=lambda: self.service.stream(choice, question),
            receive=put,
            end=lambda failure: put(failure, last=True),
        )
        self.worker.stream(stream)
        # Not asyncio.timeout, which belongs to one task: another may go on with what one has begun.
        end = loop.time() + self.config.timeout
        try:
            while True:
                try:
                    item, last = await asyncio.wait_for(arrived.get(), end - loop.time())
                except TimeoutError:
                    raise self._too_slow() from None
                if not last:
                    yield item
                elif item is None:
                    return
                else:
                    raise item
        finally:
            stream.cancelled = True

    async def without_model(self, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """What ``call`` returns; it runs in a thread, beside the model."""
        async with self._timed(), self._reads:
            return await asyncio.to_thread(call, *arguments, **options)

    async def writing(self, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """What ``call`` returns, which changes the memory: one after the other, in a thread.

        Raises:
            RequestFailure: the server is read-only, or the time is over.
            ServerBusy: too many are waiting.
        """
        if self.config.read_only:
            raise RequestFailure(403, "read_only", "this server only reads its memory")
        if self._writers >= _MOST_WRITERS:
            raise ServerBusy
        self._writers += 1
        try:
            async with self._timed():
                await self._writer.acquire()
        except BaseException:
            self._writers -= 1
            raise
        # The thread cannot be stopped: where the time is over it goes on, and the next writer waits for it.
        work = asyncio.ensure_future(asyncio.to_thread(call, *arguments, **options))
        work.add_done_callback(self._written)
        async with self._timed():
            return await asyncio.shield(work)

    def _written(self, work: asyncio.Future[Any]) -> None:
        self._writer.release()
        self._writers -= 1
        if not work.cancelled():
            work.exception()  # known now, whether or not somebody still waits for it

    @asynccontextmanager
    async def _timed(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.config.timeout):
                yield
        except TimeoutError:
            raise self._too_slow() from None

    def _too_slow(self) -> RequestFailure:
        seconds = f"{self.config.timeout:g} seconds"
        return RequestFailure(504, "timeout", f"it took more than {seconds}", "ask for less at once")


def _running(request: Request) -> Running:
    running: Running = request.app.state.running
    return running


Here = Annotated[Running, Depends(_running)]
"""The running server, as an address asks for it."""
