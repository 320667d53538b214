"""Load on a server: many clients that ask at once, each its next question when the last is answered.

    python benchmarks/server_load.py                      # 200 clients, a minute, the adapter news
    python benchmarks/server_load.py --stream --write 1   # streams, and a writer in another process

Every answer is compared with the question that it belongs to: an answer that is lost, broken, or another's is
counted, and the script fails where there is one. Refusals (503) are repeated after the time that the server
asks for, and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mbc_cli import Memory, Question  # noqa: E402
from mbc_cli.news.generator import generate_news  # noqa: E402
from tests.support.run_mbc import COMMAND, process_environment  # noqa: E402
from tests.support.served import served  # noqa: E402


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    exact: int = 0
    found: int = 0


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument(
        "--write", type=float, help="encode a document every so many seconds, in another process"
    )
    options = parser.parse_args()
    news = list(generate_news(options.documents, seed=11))
    questions = [question for item in news for question in item.questions]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "news.mbc"
        with Memory.create(store, "news", device="cpu") as memory:
            memory.encode([item.document for item in news])
        with served(store) as server:
            seen = Seen()
            end = time.monotonic() + options.seconds
            host, _, port = server.url.removeprefix("http://").rstrip("/").partition(":")
            clients = [
                _client(host, int(port), number, questions, end, options.stream, seen)
                for number in range(options.clients)
            ]
            writing = [_write(store, options.write, end)] if options.write else []
            begun = time.monotonic()
            done = await asyncio.gather(*clients, *writing)
            took = time.monotonic() - begun
            metrics = server.ask("metrics").body
    _report(options, seen, took, metrics, done[-1] if writing else 0)
    sys.exit(bool(seen.wrong))


async def _client(
    host: str, port: int, number: int, questions: list[Question], end: float, stream: bool, seen: Seen
) -> None:
    """Ask one question after the other over one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    place = number * 7919
    while time.monotonic() < end:
        question = questions[place % len(questions)]
        place += 1
        body = {
            "model": "news",
            "stream": stream,
            "messages": [{"role": "user", "content": question.question}],
        }
        begun = time.perf_counter()
        while True:
            status, text = await _request(reader, writer, host, json.dumps(body).encode())
            if status != 503:
                break
            seen.refused += 1
            await asyncio.sleep(1)  # what Retry-After says
        seen.seconds.append(time.perf_counter() - begun)
        _judge(status, text, question, stream, seen)
    writer.close()


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, body: bytes
) -> tuple[int, bytes]:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    header = await reader.readuntil(b"\r\n\r\n")
    status = int(header.split(maxsplit=2)[1])
    fields = dict(line.lower().split(b": ", 1) for line in header.split(b"\r\n")[1:] if line)
    if b"content-length" in fields:
        return status, await reader.readexactly(int(fields[b"content-length"]))
    text = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        text += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, text


def _judge(status: int, text: bytes, question: Question, stream: bool, seen: Seen) -> None:
    """Count the answer: whether it is whole, and whether it was read from the question's own document."""
    if status != 200:
        seen.wrong[f"status {status}"] += 1
        return
    if stream:
        if not text.endswith(b"data: [DONE]\n\n"):
            seen.wrong["a stream that broke off"] += 1
            return
        events = [json.loads(line[6:]) for line in text.decode().split("\n\n")[:-2]]
        answer = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        memory = events[-1]["memory"]
    else:
        whole = json.loads(text)
        answer, memory = whole["choices"][0]["message"]["content"], whole["memory"]
    if not answer:
        seen.wrong["an empty answer"] += 1
    seen.exact += answer in question.answers
    read = {source["document_id"] for source in memory["sources"]}
    seen.found += bool(read & set(question.document_ids))


async def _write(store: Path, pause: float, end: float) -> int:
    """Encode documents in processes of their own; how many there were."""
    written = 0
    while time.monotonic() < end:
        document = {"id": f"written-{written}", "text": f"The ferry number {written} left the harbour."}
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "encode",
            "-",
            "--quiet",
            "--store",
            str(store),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=process_environment(),
        )
        await process.communicate(json.dumps(document).encode())
        written += process.returncode == 0
        await asyncio.sleep(pause)
    return written


def _report(options: argparse.Namespace, seen: Seen, took: float, metrics: str, written: int) -> None:
    times = sorted(seen.seconds)
    answered = len(times)
    lines = [line.rpartition(" ") for line in metrics.splitlines() if not line.startswith("#")]
    values = {name: float(value) for name, _, value in lines}
    batches = values["mbc_batch_questions_count"]
    print(f"{options.clients} clients, {took:.0f} s, {options.documents:,} documents")
    print(f"answered     {answered:,} ({answered / took:,.0f} a second)")
    print(f"lost         {sum(seen.wrong.values())} {dict(seen.wrong) or ''}")
    print(f"refused      {seen.refused} (and asked again)")
    print(f"found        {seen.found / answered:.1%} read the question's own document")
    print(f"right        {seen.exact / answered:.1%} exact")
    print(f"p50          {statistics.median(times):.3f} s")
    print(f"p95          {times[int(0.95 * (answered - 1))]:.3f} s")
    print(f"p99          {times[int(0.99 * (answered - 1))]:.3f} s, longest {times[-1]:.3f} s")
    if batches:
        print(f"batches      {values['mbc_batch_questions_sum'] / batches:.1f} questions")
    if options.write:
        print(f"written      {written} documents meanwhile, in other processes")


if __name__ == "__main__":
    asyncio.run(main())
