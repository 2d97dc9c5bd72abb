"""Configuration from environment variables: parsed once, frozen, every error reported at once.

A secret (a field of type SecretStr) may also come from a file: CARLIEN_POSTGRES_DSN_FILE instead of CARLIEN_POSTGRES_DSN.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "CARLIEN_"
USAGE_ERROR = 2
"""Exit code of wrong usage, wrong configuration included (interfaces.md)."""


class SecretFileSource(PydanticBaseSettingsSource):
    """Reads <NAME>_FILE for every SecretStr field, the way Kubernetes mounts secrets. A trailing newline isn't part of it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - pydantic's signature
        """The file's text, or None when there is no such variable."""
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        return (Path(path).read_text().rstrip("\r\n") if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All secrets that come from files."""
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            if SecretStr in (field.annotation, *get_args(field.annotation)):
                value, key, _ = self.get_field_value(field, name)
                if value is not None:
                    found[key] = value
        return found


class Settings(BaseSettings):
    """The base of every configuration: prefix CARLIEN_, frozen, secrets from files."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic passes all by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then files. No .env file: what isn't in the environment isn't set."""
        return init_settings, env_settings, SecretFileSource(settings_cls)


class LogSettings(Settings):
    """How to log."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class DatabaseSettings(LogSettings):
    """What `migrate` needs, and no more: a migration job has no certificates."""

    postgres_dsn: SecretStr
    """postgresql://USER@HOST:PORT/DATABASE, with a password"""
    postgres_pool_min: int = Field(1, ge=0)
    postgres_pool_max: int = Field(10, ge=1)
    postgres_command_timeout_s: float = Field(30.0, gt=0)
    """The longest one statement may take."""
    postgres_connect_timeout_s: float = Field(30.0, gt=0)
    """How long to wait at start for a database that isn't up yet."""
    postgres_lock_timeout_s: float = Field(10.0, gt=0)
    """How long a migration waits for a table's lock before it gives up instead of queueing everyone behind it."""

    @field_validator("postgres_dsn")
    @classmethod
    def _dsn(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must look like postgresql://USER@HOST:PORT/DATABASE")
        return value


class ServiceSettings(DatabaseSettings):
    """What every service reads. Subclass it in the service's config.py and load it with load()."""

    org: str = Field(min_length=1)
    """The lender this deployment belongs to; callers of another org are refused."""
    msp_id: str = Field(min_length=1)
    """That lender's identity on the ledger."""

    grpc_host: str = "0.0.0.0"  # noqa: S104 - a container's port; the network policy says who reaches it
    grpc_port: int = Field(ge=0, le=65535)
    """0 picks a free one."""
    metrics_port: int = Field(ge=0, le=65535)
    grpc_insecure: bool = False
    """Plaintext without any caller identity or authorisation. For a laptop, never for a network."""
    tls_cert_file: Path | None = Field(None, validate_default=True)
    tls_key_file: Path | None = Field(None, validate_default=True)
    tls_ca_file: Path | None = Field(None, validate_default=True)
    policy_file: Path | None = None
    """Which role may call which rpc, instead of the policy.yaml the service ships."""
    reflection: bool = False
    grpc_max_message_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    grpc_max_concurrent_rpcs: int = Field(1000, ge=1)
    """More are refused with RESOURCE_EXHAUSTED."""
    grpc_max_connection_age_s: float = Field(1800.0, gt=0)
    """Connections are renewed that often, so that load spreads over new replicas and rotated certificates take effect."""
    grpc_default_deadline_s: float = Field(30.0, gt=0)
    """The deadline of a unary call that brings none."""
    grpc_max_calls_per_second: float = Field(5000.0, ge=0)
    """Of one caller (certificate identity); more are refused with RESOURCE_EXHAUSTED RATE_LIMITED. 0: no limit."""

    traces_endpoint: str = Field("", pattern=r"^(https?://[^/]+)?$")
    """An OpenTelemetry collector's OTLP/gRPC address, http://HOST:4317 (https:// with TLS). Empty: no spans are recorded."""
    traces_sample_ratio: float = Field(1.0, ge=0, le=1)
    """The share of traces begun here that is recorded; a caller's own decision is followed."""

    kafka_bootstrap: str = Field(min_length=1)
    """host:port, comma-separated."""
    kafka_topic_prefix: str = Field("", pattern=r"^[a-zA-Z0-9._-]*$")
    """Put before every topic's name: a lender's topics are its own, also where lenders share a broker."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_file: Path | None = None
    kafka_ssl_cert_file: Path | None = None
    kafka_ssl_key_file: Path | None = None

    uvloop: bool = True
    stop_drain_s: float = Field(1.0, ge=0)
    """Between NOT_SERVING and the first refused call, so that load balancers notice."""
    stop_grace_s: float = Field(10.0, gt=0)
    """How long running calls and batches may take to finish; each step of stopping is bounded by it."""

    @field_validator("tls_cert_file", "tls_key_file", "tls_ca_file")
    @classmethod
    def _certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("grpc_insecure"):
            return value
        if value is None:
            raise ValueError(f"is required unless {PREFIX}GRPC_INSECURE=true")
        if not value.is_file():
            raise ValueError("no such file")
        return value


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load(cls: type[SettingsT]) -> SettingsT:
    """The configuration, or exit code 2 after one line per error on standard error. Values aren't shown: they may be secrets."""
    try:
        return cls()
    except ValidationError as errors:
        refuse([_line(error["loc"], error["msg"], error["type"]) for error in errors.errors(include_input=False, include_url=False)])
    except OSError as error:
        refuse([f"{error.filename}: {error.strerror}"])


def refuse(problems: list[str]) -> NoReturn:
    """Tells what is wrong with the configuration and ends the process with exit code 2."""
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 - logging isn't configured yet
    raise SystemExit(USAGE_ERROR)


def _line(location: tuple[int | str, ...], message: str, kind: str) -> str:
    name = PREFIX + "_".join(str(part) for part in location).upper()
    return f"{name}: {'is required' if kind == 'missing' else message.removeprefix('Value error, ')}"
