"""Computes a stored quote again and compares it byte for byte."""

from dataclasses import dataclass
from typing import Protocol

from carlien_common.domain.errors import not_found, precondition
from carlien_pricing.domain.counteroffers import Counteroffer, counteroffers
from carlien_pricing.domain.engine import price
from carlien_pricing.domain.products import PolicyBundle
from carlien_pricing.domain.quote import PricedQuote, QuoteInputs
from carlien_pricing.domain.revisions import REVISIONS
from carlien_pricing.domain.step_downs import StepDown, step_downs


@dataclass(frozen=True, slots=True)
class StoredQuote:
    """A quote's row as text, and the policy files it was priced with."""

    quote_id: str
    inputs: str
    result: str
    input_hash: str
    engine_version: str
    policies_version: str
    policy_files: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What the comparison found; `computed` is empty where the inputs themselves don't match their hash."""

    quote_id: str
    same_inputs: bool
    same_result: bool
    computed: str
    engine_version: str
    policies_version: str

    @property
    def same(self) -> bool:
        return self.same_inputs and self.same_result


class Archive(Protocol):
    """Where stored quotes come from."""

    async def stored_quote(self, quote_id: str) -> StoredQuote | None: ...


class Codec(Protocol):
    """How records are written."""

    def read_inputs(self, text: str) -> QuoteInputs: ...

    def write_inputs(self, inputs: QuoteInputs) -> str: ...

    def write_result(self, priced: PricedQuote, offers: tuple[Counteroffer, ...], step_downs: tuple[StepDown, ...]) -> str: ...

    def has_counteroffers(self, result: str) -> bool: ...

    def read_policies(self, files: str) -> PolicyBundle: ...

    def hash_inputs(self, inputs: str, policies_version: str, engine_version: str) -> str: ...


def replay(stored: StoredQuote, codec: Codec) -> Replay:
    """PRECONDITION ENGINE_UNKNOWN for a quote of an engine this software doesn't have."""
    revision = REVISIONS.get(stored.engine_version)
    if revision is None:
        raise precondition("ENGINE_UNKNOWN", f"this software has no pricing engine {stored.engine_version}")
    inputs = codec.read_inputs(stored.inputs)
    policies = codec.read_policies(stored.policy_files)
    same_inputs = (
        codec.hash_inputs(stored.inputs, stored.policies_version, stored.engine_version) == stored.input_hash
        and policies.version == stored.policies_version
    )
    priced = price(inputs, policies, revision)
    wanted = not priced.offered or codec.has_counteroffers(stored.result)
    offers = counteroffers(inputs, priced, policies, revision) if wanted else ()
    computed = codec.write_result(priced, offers, step_downs(inputs, priced, policies, revision))
    return Replay(stored.quote_id, same_inputs, computed == stored.result, computed, stored.engine_version, stored.policies_version)


async def replay_by_id(archive: Archive, codec: Codec, quote_id: str) -> Replay:
    """NOT_FOUND QUOTE_NOT_FOUND."""
    stored = await archive.stored_quote(quote_id)
    if stored is None:
        raise not_found("QUOTE_NOT_FOUND", "there is no such quote")
    return replay(stored, codec)
