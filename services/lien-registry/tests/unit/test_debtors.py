import hashlib
import hmac

import pytest

from carlien_common.domain.errors import DomainError
from carlien_lien_registry.domain.debtors import Debtor, DebtorHasher, parse_debtor


def test_a_hash_names_its_key_and_is_the_hmac_of_kind_and_number() -> None:
    key = b"k" * 32
    debtor = Debtor("USCC", "91310000MA1FL0000X", "示例商贸有限公司")
    expected = hmac.new(key, b"USCC\x0091310000MA1FL0000X", hashlib.sha256).hexdigest()
    assert DebtorHasher({1: key}).newest(debtor) == f"k1:{expected}"


def test_after_a_rotation_new_records_use_the_new_key_and_searches_try_both() -> None:
    debtor = Debtor("CN_ID", "110101199003070000", "张三")
    old, both = DebtorHasher({1: b"a" * 16}), DebtorHasher({1: b"a" * 16, 2: b"b" * 16})
    assert both.newest(debtor).startswith("k2:")
    assert old.newest(debtor) in both.all_live(debtor)


def test_the_same_debtor_written_differently_has_one_hash() -> None:
    hasher = DebtorHasher({1: b"a" * 16})
    one = parse_debtor("USCC", " 9131 0000ma1fl0000x ", "A", "debtor")
    assert hasher.newest(one) == hasher.newest(parse_debtor("USCC", "91310000MA1FL0000X", "B", "debtor"))


def test_all_bad_fields_are_named_and_no_value_is_repeated() -> None:
    with pytest.raises(DomainError) as caught:
        parse_debtor("uscc!", "", "secret\x00name", "debtor")
    assert [violation.field for violation in caught.value.violations] == ["debtor.id_type", "debtor.id_number", "debtor.name"]
    assert "secret" not in str(caught.value) + repr(caught.value.violations)


def test_a_debtor_does_not_show_in_a_repr() -> None:
    assert "张三" not in repr(Debtor("CN_ID", "110101199003070000", "张三"))


@pytest.mark.parametrize("keys", [{}, {0: b"a" * 16}, {1: b"short"}])
def test_weak_or_misnumbered_keys_are_refused(keys: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="consortium keys"):
        DebtorHasher(keys)
