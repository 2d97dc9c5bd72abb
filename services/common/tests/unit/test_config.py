from pathlib import Path

import pytest
from pydantic import ValidationError

from carlien_common.config import DatabaseSettings, ServiceSettings, load


class Settings(ServiceSettings):
    valuation_address: str


GOOD = {
    "ORG": "org1",
    "MSP_ID": "Org1MSP",
    "GRPC_PORT": "50051",
    "METRICS_PORT": "9101",
    "POSTGRES_DSN": "postgresql://u:hunter2@h/d",
    "KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "GRPC_INSECURE": "true",
    "VALUATION_ADDRESS": "v:1",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    import os

    for name in list(os.environ):
        if name.startswith("CARLIEN_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(f"CARLIEN_{name}", value)
    return monkeypatch


def refused(cls: type[DatabaseSettings], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load(cls)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_a_good_environment_loads_and_is_frozen() -> None:
    settings = load(Settings)
    assert (settings.org, settings.grpc_port, settings.valuation_address) == ("org1", 50051, "v:1")
    with pytest.raises(ValidationError):
        settings.org = "org2"  # type: ignore[misc]


def test_every_error_is_told_at_once_by_its_name(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.delenv("CARLIEN_ORG")
    environment.delenv("CARLIEN_VALUATION_ADDRESS")
    environment.setenv("CARLIEN_GRPC_PORT", "many")
    environment.setenv("CARLIEN_POSTGRES_DSN", "mysql://u:hunter2@h/d")
    environment.setenv("CARLIEN_GRPC_INSECURE", "false")
    environment.setenv("CARLIEN_TLS_CA_FILE", "/nowhere")
    lines = refused(Settings, capsys)
    assert {line.partition(":")[0] for line in lines} == {
        "CARLIEN_ORG",
        "CARLIEN_VALUATION_ADDRESS",
        "CARLIEN_GRPC_PORT",
        "CARLIEN_POSTGRES_DSN",
        "CARLIEN_TLS_CERT_FILE",
        "CARLIEN_TLS_KEY_FILE",
        "CARLIEN_TLS_CA_FILE",
    }
    assert "hunter2" not in "".join(lines)


def test_a_secret_comes_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://u:from-file@h/d\n")
    environment.delenv("CARLIEN_POSTGRES_DSN")
    environment.setenv("CARLIEN_POSTGRES_DSN_FILE", str(file))
    assert load(Settings).postgres_dsn.get_secret_value() == "postgresql://u:from-file@h/d"


def test_a_secret_file_that_is_not_there(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("CARLIEN_POSTGRES_DSN_FILE", "/nowhere/dsn")
    assert refused(Settings, capsys) == ["/nowhere/dsn: No such file or directory"]


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr(load(Settings))


def test_a_migration_needs_its_database_alone(environment: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        if name != "POSTGRES_DSN":
            environment.delenv(f"CARLIEN_{name}")
    assert load(DatabaseSettings).postgres_pool_max == 10
