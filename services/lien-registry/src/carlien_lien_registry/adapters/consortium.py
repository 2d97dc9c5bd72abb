"""Who belongs to the consortium: the root certificates of its members, read from the ledger's own configuration."""

from cryptography import x509
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.msp import msp_config_pb2


def member_roots(config_block: common_pb2.Block) -> dict[str, list[x509.Certificate]]:
    """MSP identifier -> root certificates of each organisation that takes part in the channel.

    ValueError where the block carries no configuration.
    """
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(config_block.data.data[0]).payload)
    channel = configtx_pb2.ConfigEnvelope.FromString(payload.data).config.channel_group
    roots: dict[str, list[x509.Certificate]] = {}
    for group in channel.groups["Application"].groups.values():
        config = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
        msp = msp_config_pb2.FabricMSPConfig.FromString(config.config)
        roots[msp.name] = [x509.load_pem_x509_certificate(pem) for pem in msp.root_certs]
    if not roots:
        raise ValueError("the configuration names no member")
    return roots


def chain_of(certificate: x509.Certificate, roots: list[x509.Certificate]) -> list[x509.Certificate]:
    """The signer's certificate and the root of its organisation that issued it; ValueError where none did."""
    for root in roots:
        if certificate.issuer == root.subject:
            certificate.verify_directly_issued_by(root)
            return [certificate, root]
    raise ValueError("none of the organisation's roots issued the signer's certificate")
