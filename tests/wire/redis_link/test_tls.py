"""`rediss://` speaks TLS with a server whose certificate it trusts, and with no other."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quintet.wire.errors import LinkAuthError, LinkDownError, LinkError
from quintet.wire.redis_link.client import CA_FILE
from quintet.wire.redis_link.link import RedisLink, connect
from tests.conftest import SPEC_HASH, delete_run
from tests.support.chunk_factory import make_pending_chunk, make_weights

pytestmark = pytest.mark.redis


class TlsFront:
    """Ends TLS in front of a Redis that knows none of it, as a server built with TLS does itself."""

    def __init__(self, redis_port: int, certificate: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._redis_port = redis_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5.0)
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._open.append(plain)
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            client = self._context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):  # a client that does not trust us, or speaks no TLS
            plain.close()
            return
        redis = socket.create_connection(("127.0.0.1", self._redis_port))
        self._open += [client, redis]
        threading.Thread(target=_pump, args=(redis, client), daemon=True).start()
        _pump(client, redis)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # either end has gone
        return


def make_certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """An authority of its own, and a certificate for `host` that it signed: the authority's file, and the server's."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    authority = (
        builder(authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    address = x509.IPAddress(ipaddress.ip_address(host)) if host.replace(".", "").isdigit() else x509.DNSName(host)
    server = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")]), server_key)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority_file, server_file = folder / f"authority-of-{host}.pem", folder / f"{host}.pem"
    authority_file.write_bytes(authority.public_bytes(pem))
    server_file.write_bytes(server.public_bytes(pem) + key)
    return authority_file, server_file


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The authority's certificate, and that of a server at 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def tls_url(redis_url: str, port: int) -> str:
    return redis_url.replace("redis://", "rediss://").rpartition(":")[0] + f":{port}/0"


@pytest.fixture
def url(redis_url: str, authority: tuple[Path, Path]) -> Iterator[str]:
    """The test session's Redis, behind TLS."""
    front = TlsFront(int(redis_url.rpartition(":")[2].split("/")[0]), authority[1])
    yield tls_url(redis_url, front.port)
    front.close()


def test_a_run_goes_through_tls(
    url: str, redis_url: str, run_name: str, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CA_FILE, str(authority[0]))
    with connect(url, run_name, wait_s=5.0) as link:
        link.open_run(spec_hash=SPEC_HASH, config_text="", max_queued_steps=1000, max_queue_bytes=2**22)
        link.push([make_pending_chunk(link.register(0, SPEC_HASH), 1, n_bytes=2**20)])
        link.publish(make_weights(3))
        assert len(link.pop(100, 1.0)[0].payload) == 2**20
        assert link.latest(0) == make_weights(3)
    delete_run(redis_url, run_name)


def test_the_authority_may_stand_in_the_url(url: str, run_name: str, authority: tuple[Path, Path]) -> None:
    with connect(f"{url}?ssl_ca_certs={authority[0]}", run_name, wait_s=5.0) as link:
        assert link.announced_version() == 0


def test_without_tls_the_same_server_says_what_may_be_missing(url: str, run_name: str) -> None:
    plain = url.replace("rediss://", "redis://")
    with pytest.raises(LinkDownError, match=r"if it speaks TLS, its URL begins with rediss://"):
        connect(plain, run_name, wait_s=0.0)


def test_a_certificate_of_an_unknown_authority_is_refused_at_once(url: str, run_name: str) -> None:
    with pytest.raises(LinkAuthError, match=f"certificate that is not trusted here.*{CA_FILE}"):
        connect(url, run_name, wait_s=5.0)


def test_a_certificate_of_another_host_is_refused(redis_url: str, run_name: str, tmp_path: Path) -> None:
    authority_file, server_file = make_certificate(tmp_path, "redis.example")
    front = TlsFront(int(redis_url.rpartition(":")[2].split("/")[0]), server_file)
    url = f"{tls_url(redis_url, front.port)}?ssl_ca_certs={authority_file}"
    with pytest.raises(LinkAuthError, match="not trusted here"):
        connect(url, run_name, wait_s=5.0)
    front.close()


def test_a_password_is_never_sent_where_tls_was_asked_for_and_is_not_spoken(
    redis_url: str, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintet.wire.redis_link.base.TIMEOUT_S", 0.3)  # a plain Redis waits for the end of a line
    port = int(redis_url.rpartition(":")[2].split("/")[0])
    hint = r"if it speaks no TLS, its URL begins with redis://"
    with RedisLink(tls_url(redis_url, port), run_name) as link, pytest.raises(LinkDownError, match=hint):
        link.counters()


def test_a_file_that_is_not_there_is_named(run_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CA_FILE, "/nowhere/authority.pem")
    with pytest.raises(LinkError, match=r"ssl_ca_certs is '/nowhere/authority\.pem', and there is no such file"):
        RedisLink("rediss://:secret@127.0.0.1:6379/0", run_name)
    with pytest.raises(LinkError, match=r"ssl_certfile is '/nowhere/me\.pem'"):
        RedisLink("rediss://127.0.0.1:6379/0?ssl_ca_certs=/etc/hostname&ssl_certfile=/nowhere/me.pem", run_name)
