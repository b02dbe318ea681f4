"""What a server counts, in Prometheus' format. Each server has a registry of its own."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from inference.engine import Engine
from inference.serving.batcher import QueueLoad

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """Counters, gauges and histograms of one server. Thread-safe."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("tweettune_requests", "Requests answered", ["route", "status"], registry=own)
        self.seconds = Histogram(
            "tweettune_request_seconds", "Time to answer a request", ["route"], buckets=_SECONDS, registry=own
        )
        self.rejections = Counter("tweettune_rejections", "Requests refused", ["reason"], registry=own)
        self.texts = Counter("tweettune_texts", "Texts classified", ["model"], registry=own)
        self.truncated = Counter(
            "tweettune_truncated_texts", "Texts that were too long", ["model"], registry=own
        )
        self.labels = Counter(
            "tweettune_predictions", "Texts by their label", ["model", "label"], registry=own
        )
        self.batch_texts = Histogram(
            "tweettune_batch_texts", "Texts of a batch", ["model"], buckets=_TEXTS, registry=own
        )
        self.batch_tokens = Histogram(
            "tweettune_batch_tokens", "Tokens of a batch", ["model"], buckets=_TOKENS, registry=own
        )
        self.batch_seconds = Histogram(
            "tweettune_batch_seconds", "Time to compute a batch", ["model"], buckets=_SECONDS, registry=own
        )
        self.queue_texts = Gauge("tweettune_queue_texts", "Texts waiting or in work", ["model"], registry=own)
        self.queue_tokens = Gauge(
            "tweettune_queue_tokens", "Tokens waiting or in work", ["model"], registry=own
        )
        self.close_calls = Gauge(
            "tweettune_close_calls",
            "Texts that int8 left to float32, since the model was loaded",
            ["model"],
            registry=own,
        )
        self.model = Info("tweettune_model", "The engine of a model", ["model"], registry=own)

    def on_batch(self, model: str) -> Callable[[int, int, float], None]:
        children = [
            metric.labels(model) for metric in (self.batch_texts, self.batch_tokens, self.batch_seconds)
        ]

        def count(texts: int, tokens: int, seconds: float) -> None:
            for child, value in zip(children, (texts, tokens, seconds), strict=True):
                child.observe(value)

        return count

    def count_answers(self, model: str, labels: Iterable[str], *, truncated: int) -> None:
        tally = Tally(labels)
        for label, count in tally.items():
            self.labels.labels(model, label).inc(count)
        self.texts.labels(model).inc(tally.total())
        if truncated:
            self.truncated.labels(model).inc(truncated)

    def watch_model(self, name: str, engine: Engine, load: Callable[[], QueueLoad]) -> None:
        """Show which engine a model has from now on, and what waits for it."""
        self.model.labels(name).info({"engine": engine.name})
        self.queue_texts.labels(name).set_function(lambda: load().texts)
        self.queue_tokens.labels(name).set_function(lambda: load().tokens)
        self.close_calls.labels(name).set_function(lambda: getattr(engine, "close_calls", 0))

    def forget_model(self, name: str) -> None:
        """Let go of a model that is no longer served: its queue's function would keep it in memory."""
        for metric in (self.queue_texts, self.queue_tokens, self.close_calls, self.model):
            metric.remove(name)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)
