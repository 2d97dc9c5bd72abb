"""Structured logs on standard output: one JSON object a line, with trace ids, never with a secret or a personal id."""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from carlien_common.tracing import current_traceparent, trace_id

Event = MutableMapping[str, Any]

# What a field's name gives away. Positions and debtors are personal (PIPL art. 28: location is sensitive).
_SECRET_NAMES: Final = re.compile(
    r"(?i)passw|secret|token|credential|authorization|private_key|dsn$|id_number|debtor|phone|latitude|longitude|position$"
)
_SECRET_TEXTS: Final = (
    (re.compile(r"(\w+://[^:/@\s]*):[^@\s]+@"), r"\1:***@"),
    # PostgreSQL tells the offending values in DETAIL.
    (re.compile(r"DETAIL:.*"), "DETAIL: ***"),
)


def _trace(_: object, __: str, event: Event) -> Event:
    traceparent = current_traceparent()
    if traceparent is not None:
        event["trace_id"] = trace_id(traceparent)
    return event


def _redact(_: object, __: str, event: Event) -> Event:
    for key, value in event.items():
        if _SECRET_NAMES.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def redact(text: str) -> str:
    """Without passwords in addresses and without row values in database errors."""
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


def configure(level: str = "info", format: str = "json", service: str = "carlien") -> None:  # noqa: A002 - the setting's name
    """Sends our logs and those of the libraries through one pipeline to standard output."""

    def name(_: object, __: str, event: Event) -> Event:
        event.setdefault("service", service)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        _trace,
        name,
    ]
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if format == "json" else structlog.dev.ConsoleRenderer()
    last = [structlog.processors.format_exc_info] if format == "json" else []
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, _redact, renderer],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Chatty at INFO: every connection, every rebalance step, every scrape.
    for chatty in ("kafka", "aiohttp.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events are snake_case phrases with fields: log.info("lien_registered", vin=vin)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
