"""The password's file: made once, never shown, refused where others can read it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deeptool.client.probe import read_properties
from deeptool.errors import UserError
from hpc.broker import passwords


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_password_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = passwords.create(tmp_path / "run" / "secret")
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    password = passwords.read(path)
    assert len(password) >= 40
    assert passwords.read(passwords.create(path.parent)) == password
    assert passwords.read(passwords.create(tmp_path / "other")) != password
    assert [file.name for file in path.parent.iterdir()] == ["password"]


def test_of_many_that_make_one_all_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = pool.map(lambda _: passwords.read(passwords.create(tmp_path / "s")), range(32))
    assert len(set(made)) == 1


@pytest.mark.parametrize("wide", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_can_read(tmp_path: Path, wide: int) -> None:
    path = passwords.create(tmp_path / "secret")
    path.chmod(wide)
    for refused in (lambda: passwords.read(path), lambda: passwords.create(path.parent)):
        with pytest.raises(UserError, match="other users") as caught:
            refused()
        assert caught.value.seen == f"mode {wide:04o}"
        assert caught.value.next_step == f"chmod 600 {path}"


def test_a_folder_that_others_can_read(tmp_path: Path) -> None:
    path = passwords.create(tmp_path / "secret")
    path.parent.chmod(0o750)
    with pytest.raises(UserError, match="other users") as caught:
        passwords.read(path)
    assert caught.value.seen == "mode 0750"
    assert caught.value.next_step == f"chmod 700 {path.parent}"


@pytest.mark.parametrize(
    "text", ["", "short", 'quoted"password', "two words of them", "a\nbcdefghijklm"]
)
def test_what_is_no_password_is_not_shown(tmp_path: Path, text: str) -> None:
    path = passwords.create(tmp_path / "secret")
    path.write_text(text)
    with pytest.raises(UserError, match="no usable password") as caught:
        passwords.read(path)
    assert not text or text not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        passwords.read(tmp_path / "none" / "password")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        passwords.create(tmp_path / "file" / "secret")


def test_client_properties_are_what_deeptool_reads(tmp_path: Path) -> None:
    path = passwords.create(tmp_path / "secret")
    written = passwords.write_client_properties(path)
    assert written == path.with_name("client.properties")
    assert mode(written) == 0o600
    assert (
        read_properties(written)
        == passwords.client_properties(path)
        == {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "deeptool",
            "sasl.password": passwords.read(path),
        }
    )
