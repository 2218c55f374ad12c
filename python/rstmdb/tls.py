"""TLS for `Connection`, of the client published as rstmdb 0.2.1, for its users."""

from __future__ import annotations

import ssl

__all__ = ["create_ssl_context"]


def create_ssl_context(
    ca_cert: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
    insecure: bool = False,
) -> ssl.SSLContext:
    """A context that trusts `ca_cert`, or the system, or with `insecure` everyone."""
    context = ssl.create_default_context(cafile=None if insecure else ca_cert)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if client_cert and client_key:
        context.load_cert_chain(client_cert, client_key)
    return context
