"""A CA of our own and certificates that it signed, made with openssl."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .process import run_as, server_user

OPENSSL = shutil.which("openssl")


@dataclass(frozen=True)
class Certificates:
    """Files that a server and its clients need; the server's user can read all of them."""

    ca: Path
    other_ca: Path
    """One that has signed nothing."""
    certificate: Path
    """Of localhost, and not of 127.0.0.1."""
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make them in a folder that a server's user can reach."""
    made = Certificates(
        *(folder / name for name in ("ca.pem", "other.pem", "server.pem", "server.key"))
    )
    for ca in (made.ca, made.other_ca):
        _openssl(
            folder, "req", "-x509", "-newkey", "ec:params", "-keyout", ca.with_suffix(".key"),
            "-out", ca, "-subj", f"/CN=onrecord {ca.stem}",
        )  # fmt: skip
    request = folder / "server.csr"
    _openssl(
        folder, "req", "-new", "-newkey", "ec:params", "-keyout", made.key, "-out", request,
        "-subj", "/CN=localhost",
    )  # fmt: skip
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost\n")
    run_as(
        None,
        [OPENSSL or "openssl", "x509", "-req", "-in", request, "-CA", made.ca, "-CAkey",
         made.ca.with_suffix(".key"), "-CAcreateserial", "-out", made.certificate,
         "-extfile", names, "-days", "2"],
        cwd=folder,
    )  # fmt: skip
    made.key.chmod(0o600)  # PostgreSQL refuses a key that others can read
    if (user := server_user()) is not None:
        for file in (made.ca, made.certificate, made.key):
            os.chown(file, user.pw_uid, user.pw_gid)
    return made


def _openssl(folder: Path, command: str, *arguments: str | Path) -> None:
    """A key of an elliptic curve: one of RSA takes ten times as long to make."""
    parameters = folder / "params"
    program: str | Path = OPENSSL or "openssl"
    if not parameters.exists():
        make = [program, "ecparam", "-name", "prime256v1", "-out", parameters]
        run_as(None, make, cwd=folder)
    given: list[str | Path]
    given = [f"ec:{parameters}" if part == "ec:params" else part for part in arguments]
    run_as(None, [program, command, *given, "-nodes", "-days", "2"], cwd=folder)
