"""What is counted, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from mbc_cli.inference.answer import Answer

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Measures:
    """The figures of one server."""

    def __init__(self, *, waiting: Callable[[], int], documents: Callable[[], int]) -> None:
        disable_created_metrics()  # of each a second series
        self._registry = CollectorRegistry()
        registry = self._registry
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "mbc_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "mbc_request_seconds", "Seconds per request.", ["route"], registry=registry, buckets=_SECONDS
        )
        self.in_flight = Gauge("mbc_requests_in_flight", "Requests being answered.", registry=registry)
        self.batches = Histogram(
            "mbc_batch_questions", "Questions answered together.", registry=registry, buckets=_SIZES
        )
        self.answers = Counter(
            "mbc_answers", "Answers by where they are from.", ["origin"], registry=registry
        )
        self.changed = Counter(
            "mbc_documents_changed", "Documents added, replaced or forgotten.", ["change"], registry=registry
        )
        Gauge("mbc_questions_waiting", "Questions that wait.", registry=registry).set_function(waiting)
        Gauge("mbc_documents", "Documents in the memory.", registry=registry).set_function(documents)

    def count_answer(self, answer: Answer) -> None:
        """Count an answer by its origin."""
        origin = "memory" if answer.from_memory else "abstained" if answer.abstained else "llm"
        self.answers.labels(origin).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)
