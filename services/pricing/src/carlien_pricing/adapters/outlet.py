"""Where this service's events go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where events go and what they say they come from."""

    source: str
    quote_topic: str
    watch_topic: str
