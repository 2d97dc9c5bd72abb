"""STATE/env: the addresses, names and paths of this stack, for `source` and for tests."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from carlien_local import chaincode, fabric, kafka, model, postgres
from carlien_local.layout import Layout

SERVICE_ADDRESSES = {
    "VALUATION_ADDRESS": "valuation",
    "LIEN_REGISTRY_ADDRESS": "lien-registry",
    "LIEN_REGISTRY_ORG2_ADDRESS": "lien-registry-org2",
    "TELEMATICS_ADDRESS": "telematics",
    "PRICING_ADDRESS": "pricing",
    "GB32960_ADDRESS": "gb32960",
    "JT808_ADDRESS": "jt808",
}


def variables(layout: Layout) -> dict[str, str]:
    """name -> value; PATH is not among them."""
    values = {
        "KAFKA_BOOTSTRAP": layout.address("kafka"),
        # `java -cp "$KAFKA_CLASSPATH" org.apache.kafka.tools.…` runs Kafka's own console tools.
        "KAFKA_CLASSPATH": kafka.classpath(layout),
        "CARLIEN_MODEL_SOURCE": model.source(layout).description,
        "POSTGRES_ADMIN_DSN": postgres.dsn(layout, postgres.SUPERUSER),
        "PROMETHEUS_URL": f"http://{layout.address('prometheus')}",
        "CARLIEN_PKI": str(layout.pki),
        "FABRIC_CFG_PATH": str(fabric.folder(layout) / "config"),
        "FABRIC_CHANNEL": fabric.CHANNEL,
        "FABRIC_CHAINCODE": chaincode.NAME,
        "FABRIC_ORDERER_ADDRESS": layout.address("orderer"),
        "FABRIC_ORDERER_TLS_CA_FILE": str(fabric.orderer_ca(layout)),
    }
    for database in postgres.DATABASES:
        values[f"{database.upper()}_POSTGRES_DSN"] = postgres.dsn(layout, database)
    for name, part in SERVICE_ADDRESSES.items():
        values[name] = layout.address(part)
    for org in fabric.orgs(layout):
        prefix = f"FABRIC_{org.name.upper()}_"
        values[prefix + "MSP_ID"] = org.msp_id
        values[prefix + "PEER_ADDRESS"] = layout.address(org.peer)
        values[prefix + "TLS_CA_FILE"] = str(org.tls_ca)
        values[prefix + "ADMIN_MSP"] = org.admin_env()["CORE_PEER_MSPCONFIGPATH"]
        for infix, identity in (("", "client"), ("REGISTRAR_", "registrar")):
            values[f"{prefix}{infix}CERT_FILE"] = str(org.identities / f"{identity}.crt")
            values[f"{prefix}{infix}KEY_FILE"] = str(org.identities / f"{identity}.key")
    return values


def write(layout: Layout) -> None:
    """Writes the file, readable by its owner only (it holds passwords), and replaces it in one step."""
    draft = layout.env_file.with_name("env.new")
    draft.touch(mode=0o600)
    draft.write_text(render(variables(layout), layout))
    draft.replace(layout.env_file)


def render(values: Mapping[str, str], layout: Layout) -> str:
    """The text of the file: `export NAME=value` lines."""
    lines = ["# Written by carlien-local up. `source` it from a shell."]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())]
    lines.append(f"export PATH={shlex.quote(str(layout.fabric_tools / 'bin'))}:$PATH")
    return "\n".join(lines) + "\n"
