"""The password of a broker: a file that only its owner can read, and what is made from it."""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from deeptool.errors import UserError
from deeptool.files import sha256, write_text

USER = "deeptool"
MECHANISM = "SCRAM-SHA-512"
NAME = "password"
CLIENT_PROPERTIES = "client.properties"
# What needs no escaping in a JAAS file, a properties file or an argument file of Kafka's tools.
_PASSWORD = re.compile(r"[A-Za-z0-9_.~+/-]{12,}")


def create(folder: Path) -> Path:
    """The file with the password of `folder`, made where there is none.

    Parameters
    ----------
    folder : Path
        Made with mode 0700 where it is not there yet.

    Raises
    ------
    UserError
        As `read`, for a file that is there already; or when it cannot be written.
    """
    path = folder / NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_mode(folder, "chmod 700")
        if not path.exists():
            # Two that start at once: the one whose link comes first made it, for both.
            made = folder / f".{NAME}.{secrets.token_hex(8)}"
            write_text(made, secrets.token_urlsafe(32) + "\n", 0o600)
            try:
                os.link(made, path)
            except FileExistsError:
                pass
            finally:
                made.unlink()
    except OSError as error:
        raise UserError("the password file cannot be written", seen=str(error)) from error
    read(path)
    return path


def read(path: Path) -> str:
    """The password in a file.

    Raises
    ------
    UserError
        When there is no such file, others than its owner may read it or its folder, or it holds
        no password.
    """
    try:
        _check_mode(path.parent, "chmod 700")
        _check_mode(path, "chmod 600")
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the password file cannot be read", seen=str(error)) from error
    if not _PASSWORD.fullmatch(password):
        raise UserError(
            "the password file contains no usable password",
            seen=f"{len(password)} characters in {path}",
            valid="one line of 12 or more letters, digits and any of _ . ~ + / -",
        )
    return password


def client_properties(path: Path) -> dict[str, str]:
    """librdkafka's settings for a client that knows the password in the file `path`."""
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": MECHANISM,
        "sasl.username": USER,
        "sasl.password": read(path),
    }


def client_properties_text(path: Path) -> str:
    """`client_properties` as the file that ``deeptool --client-properties`` reads."""
    return "".join(f"{key}={value}\n" for key, value in client_properties(path).items())


def write_client_properties(path: Path) -> Path:
    """Write `client_properties_text` beside the password's file; returns where."""
    written = path.parent / CLIENT_PROPERTIES
    write_text(written, client_properties_text(path), 0o600)
    return written


def jaas(password: str) -> str:
    """The JAAS file of all servers: ZooKeeper, its clients, and Kafka's listeners."""
    digest = "org.apache.zookeeper.server.auth.DigestLoginModule required"
    modules = "org.apache.kafka.common.security"
    login = f'username="{USER}" password="{password}"'
    return (
        f'Server {{\n  {digest} user_{USER}="{password}";\n}};\n'
        f"Client {{\n  {digest} {login};\n}};\n"
        "KafkaServer {\n"
        f"  {modules}.scram.ScramLoginModule required {login};\n"
        f'  {modules}.plain.PlainLoginModule required {login} user_{USER}="{password}";\n'
        "};\n"
    )


def digest(password: str) -> str:
    """What tells one password from another; kept with the data that it opens, mode 0600."""
    return sha256(password.encode())


def _check_mode(path: Path, command: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UserError(
            f"{path} can be read or changed by other users",
            seen=f"mode {mode:04o}",
            next_step=f"{command} {path}",
        )
