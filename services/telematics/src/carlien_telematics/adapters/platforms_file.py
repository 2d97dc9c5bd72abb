"""Platforms, passwords and keys from a file that is mounted as a secret.

    terminals:                      # keys of terminals that connect by themselves
      keys: [{algorithm: AES128, key: 000102030405060708090a0b0c0d0e0f}]
    platforms:
      - user: MAKER-1               # at most 12 characters, as in the platform login
        password: at most 20
        vin_prefixes: [LSV, LFV]
        keys: [{algorithm: SM4, key: …}, {algorithm: RSA, private_key_file: maker-1.pem}]

Paths are relative to the file. Several keys of one algorithm are tried in order.
"""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

import yaml
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from carlien_telematics.codecs.gb32960 import Encryption
from carlien_telematics.crypto.ciphers import Keyring
from carlien_telematics.domain.devices import Credential
from carlien_telematics.service.platforms import Platform, Platforms

_STRICT = ConfigDict(extra="forbid", frozen=True)


class _BlockKey(BaseModel):
    model_config = _STRICT
    algorithm: Literal["AES128", "SM4"]
    key: SecretStr


class _RsaKey(BaseModel):
    model_config = _STRICT
    algorithm: Literal["RSA"]
    private_key_file: Path


_Key = Annotated[_BlockKey | _RsaKey, Field(discriminator="algorithm")]


class _Keys(BaseModel):
    model_config = _STRICT
    keys: tuple[_Key, ...] = ()


class _Platform(_Keys):
    user: str = Field(min_length=1, max_length=12, pattern=r"^[!-~]+$")
    password: SecretStr = Field(min_length=8, max_length=20)
    vin_prefixes: tuple[Annotated[str, Field(pattern=r"^[A-HJ-NPR-Z0-9]{1,17}$")], ...] = Field(min_length=1)


class _File(BaseModel):
    model_config = _STRICT
    terminals: _Keys = _Keys()
    platforms: tuple[_Platform, ...] = ()


def read_platforms(path: Path) -> Platforms:
    """Raises ValueError (also pydantic's and yaml's) or OSError for a file that can't be used; no secret is in the text."""
    file = _File.model_validate(yaml.safe_load(path.read_text()) or {})
    platforms = {
        entry.user: Platform(
            entry.user, Credential.of(entry.password.get_secret_value()), entry.vin_prefixes, _keyring(entry.keys, path.parent)
        )
        for entry in file.platforms
    }
    if len(platforms) < len(file.platforms):
        raise ValueError("two platforms have the same user")
    return Platforms(platforms, _keyring(file.terminals.keys, path.parent))


def _keyring(keys: tuple[_Key, ...], folder: Path) -> Keyring:
    symmetric: defaultdict[int, list[bytes]] = defaultdict(list)
    private: list[RSAPrivateKey] = []
    for key in keys:
        if isinstance(key, _RsaKey):
            loaded = load_pem_private_key((folder / key.private_key_file).read_bytes(), None)
            if not isinstance(loaded, RSAPrivateKey):
                raise ValueError(f"{key.private_key_file} is not an RSA key")
            private.append(loaded)
        else:
            symmetric[Encryption[key.algorithm]].append(_sixteen(key.key.get_secret_value(), key.algorithm))
    return Keyring({encryption: tuple(found) for encryption, found in symmetric.items()}, tuple(private))


def _sixteen(text: str, algorithm: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise ValueError(f"a key of {algorithm} is 32 hexadecimal digits")
    return raw
