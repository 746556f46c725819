"""Certificates of a test's own, and servers that speak TLS with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.own_postgres import USER, Server
from tests.support.ports import free_port
from tests.support.redis import DURABLE, RedisServer

#: What the servers' certificates are for, unless a test says otherwise.
HERE = "127.0.0.1"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Vouches for what it issues, in files of a folder."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            if os.environ.get("CI"):
                pytest.fail("openssl is not installed")
            pytest.skip("openssl is not installed")
        self._folder = folder
        folder.mkdir(parents=True)
        self.certificate, self._key = folder / "authority.pem", folder / "authority.key"
        self._openssl(
            "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=the tests", *self._out(self.certificate, self._key)
        )

    def issue(self, name: str, alternative: str) -> tuple[Path, Path]:
        """A certificate for a host (`IP:127.0.0.1`, `DNS:db.internal`), and its key."""
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request, extension = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternative}\n")
        self._openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", *self._out(request, key))
        vouched = [
            "-CA",
            str(self.certificate),
            "-CAkey",
            str(self._key),
            "-CAcreateserial",
            "-extfile",
            str(extension),
        ]
        self._openssl("x509", "-req", "-in", str(request), "-days", "2", *vouched, "-out", str(certificate))
        return certificate, key

    @staticmethod
    def _out(written: Path, key: Path) -> list[str]:
        return ["-out", str(written), "-keyout", str(key)]

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True)


class TLSRedis(RedisServer):
    """A Redis that speaks TLS on a second port."""

    scheme = "redis"
    trusting, certified, keyed = "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"

    def __init__(self, folder: Path, authority: Authority, *, name: str = f"IP:{HERE}", clients: bool = False) -> None:
        certificate, key = authority.issue("redis", name)
        self.tls_port = free_port()
        given = {
            "tls-port": self.tls_port, "tls-cert-file": certificate, "tls-key-file": key,
            "tls-ca-cert-file": authority.certificate, "tls-auth-clients": "yes" if clients else "no",
        }  # fmt: skip
        options = [word for option, value in given.items() for word in (f"--{option}", str(value))]
        super().__init__(folder / "redis", *DURABLE, *options)

    def reached(self, options: Mapping[str, object], port: int | None = None) -> str:
        """The URL of the store, with the client's options of TLS."""
        return f"rediss+streams://{HERE}:{port or self.tls_port}/0?{urlencode(options)}"


class TLSPostgres(Server):
    """A cluster that takes clients over TLS alone."""

    scheme = "postgresql"
    trusting, certified, keyed = "sslrootcert", "sslcert", "sslkey"

    def __init__(self, folder: Path, authority: Authority, *, name: str = f"IP:{HERE}", clients: bool = False) -> None:
        super().__init__()
        files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "authority.pem"}
        for source, file in zip(
            (*authority.issue("postgres", name), authority.certificate), files.values(), strict=True
        ):
            self._own(source, self.folder / file)
        settings = {"ssl": "on", **{setting: self.folder / file for setting, file in files.items()}}
        self.command += [word for setting, value in settings.items() for word in ("-c", f"{setting}={value}")]
        rule = "hostssl all all all trust" + (" clientcert=verify-ca" if clients else "")
        (self.folder / "data" / "pg_hba.conf").write_text(f"local all all trust\n{rule}\n")
        self.tls_port = self.port

    def _own(self, source: Path, target: Path) -> None:
        """The server reads no key that is another's, or that others may read."""
        shutil.copy(source, target)
        target.chmod(0o600)
        owner = self.folder.stat()
        os.chown(target, owner.st_uid, owner.st_gid)

    def reached(self, options: Mapping[str, object], port: int | None = None) -> str:
        """The URL of the store, with libpq's options of TLS."""
        query = urlencode({"sslmode": "verify-full", **options})
        return f"postgresql://{USER}@{HERE}:{port or self.port}/postgres?{query}"

    @property
    def url(self) -> str:
        """By its socket, where nobody needs a certificate."""
        return f"postgresql://{USER}@/postgres?host={self.folder}&port={self.port}"
