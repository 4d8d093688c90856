"""What a server counts, in Prometheus's words. Nothing of it depends on what is said."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter(
            "chatbot_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "chatbot_request_seconds", "From a request's head to its last byte", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.words = Counter("chatbot_words", "Words of replies", registry=registry)
        self.waiting = Gauge("chatbot_waiting", "Questions that wait for the thread that answers", registry=registry)
        self.batch = Histogram(
            "chatbot_batch_questions", "Questions answered together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256), registry=registry,
        )  # fmt: skip
