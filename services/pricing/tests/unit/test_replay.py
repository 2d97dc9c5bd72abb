"""Stored quotes stay what they were: after every upgrade each golden file replays byte for byte."""

import json
from pathlib import Path

import pytest

from carlien_common.domain.errors import DomainError
from carlien_pricing.adapters.codec import JsonCodec
from carlien_pricing.domain.revisions import CURRENT, REVISIONS
from carlien_pricing.service.replaying import StoredQuote, replay

FILES = sorted((Path(__file__).parent / "golden").glob("quotes_engine_*.json"))


def stored(path: Path) -> list[StoredQuote]:
    golden = json.loads(path.read_text(encoding="utf-8"))
    files = json.dumps(golden["policy_files"])
    return [
        StoredQuote(
            f"{path.stem}/{number}",
            quote["inputs"],
            quote["result"],
            quote["input_hash"],
            golden["engine_version"],
            golden["policies_version"],
            files,
        )
        for number, quote in enumerate(golden["quotes"])
    ]


@pytest.mark.parametrize("quote", [quote for path in FILES for quote in stored(path)], ids=lambda quote: quote.quote_id)
def test_golden_quotes_replay_byte_for_byte(quote: StoredQuote) -> None:
    found = replay(quote, JsonCodec())
    assert found.same_inputs
    assert found.computed == quote.result


def test_every_engine_has_a_golden_file() -> None:
    assert {json.loads(path.read_text(encoding="utf-8"))["engine_version"] for path in FILES} == set(REVISIONS)
    assert REVISIONS[CURRENT.version] is CURRENT


def test_a_change_anywhere_is_found() -> None:
    quote = stored(FILES[0])[0]
    changed = StoredQuote(**{**_fields(quote), "result": quote.result.replace('"offered":true', '"offered":false')})
    assert not replay(changed, JsonCodec()).same_result
    changed = StoredQuote(**{**_fields(quote), "inputs": quote.inputs.replace("60000.00", "60001.00")})
    assert not replay(changed, JsonCodec()).same_inputs
    with pytest.raises(DomainError, match="no pricing engine"):
        replay(StoredQuote(**{**_fields(quote), "engine_version": "0"}), JsonCodec())


def _fields(quote: StoredQuote) -> dict[str, str]:
    return {name: getattr(quote, name) for name in StoredQuote.__dataclass_fields__}
