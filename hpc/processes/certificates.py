"""The certificates that this machine trusts, as one file, for programs that bring their own."""

from __future__ import annotations

import os
from pathlib import Path

# What users name such a file by, for one program or another.
_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# Where the usual systems keep it.
_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)


def certificates() -> Path | None:
    """The file with the certificates that this machine trusts; None where none is found."""
    named = (os.environ.get(name) for name in _VARIABLES)
    for path in (*named, *_CERTIFICATES):
        if path and Path(path).is_file():
            return Path(path)
    return None
