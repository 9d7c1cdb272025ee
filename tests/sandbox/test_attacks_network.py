from __future__ import annotations

import contextlib
import platform
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="raw numbers of x86-64")


@contextlib.contextmanager
def listening(family: int, address: tuple[str, int] | str) -> Iterator[socket.socket]:
    """A real service that counts who reached it."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.05)
        yield server
        with pytest.raises(TimeoutError):
            server.accept()


def test_no_tcp_to_a_local_service(holds: Callable[..., None]) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as server:
        holds(
            "import socket, urllib.request, http.client\n"
            "forbidden('connect', socket.create_connection, ('127.0.0.1', port), 1)\n"
            "forbidden('urlopen', urllib.request.urlopen, f'http://127.0.0.1:{port}/', None, 1)\n"
            "c = http.client.HTTPConnection('127.0.0.1', port, timeout=1)\n"
            "forbidden('http', c.request, 'GET', '/')",
            port=server.getsockname()[1],
        )


def test_no_metadata_service(holds: Callable[..., None]) -> None:
    holds(
        "import socket\n"
        "for host in ('169.254.169.254', '100.100.100.200', 'fd00:ec2::254', '1.1.1.1'):\n"
        "    forbidden(host, socket.create_connection, (host, 80), 1)"
    )


def test_no_name_is_resolved(holds: Callable[..., None]) -> None:
    holds(
        "import socket\n"
        "forbidden('getaddrinfo', socket.getaddrinfo, 'example.com', 80)\n"
        "forbidden('gethostbyname', socket.gethostbyname, 'example.com')"
    )


@pytest.mark.parametrize(
    "family",
    ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_CAN"],
)
def test_no_socket_of_any_family(holds: Callable[..., None], family: str) -> None:
    holds(
        "import socket\n"
        "for kind in (1, 2, 3, 5):\n"  # stream, datagram, raw, packets in sequence
        f"    forbidden(kind, socket.socket, socket.{family}, kind)"
    )


def test_no_socket_pair(holds: Callable[..., None]) -> None:
    holds("import socket\nforbidden('socketpair', socket.socketpair)")


def test_no_unix_socket_by_path(holds: Callable[..., None], tmp_path: Path) -> None:
    with listening(socket.AF_UNIX, str(tmp_path / "s")):
        holds(
            "import socket\n"
            "def reach(): socket.socket(socket.AF_UNIX).connect(path)\n"
            "forbidden('path', reach)",
            path=str(tmp_path / "s"),
        )


def test_no_abstract_unix_socket(holds: Callable[..., None]) -> None:
    with listening(socket.AF_UNIX, "\0tirgen-test"):
        holds(
            "import socket\n"
            "def reach(): socket.socket(socket.AF_UNIX).connect('\\0tirgen-test')\n"
            "forbidden('abstract', reach)"
        )


def test_no_service_can_be_offered(holds: Callable[..., None]) -> None:
    holds("import socket\nforbidden('listen', socket.create_server, ('127.0.0.1', 0))")


@x86_64
def test_no_network_through_raw_system_calls(holds: Callable[..., None]) -> None:
    holds(
        "for number in (41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 53, 54, 55, 288, 299, 307):\n"
        "    forbidden(number, raw, number, 2, 1, 0, 0, 0, 0)"
    )


def test_supervisor_threads_are_none_of_its_business(holds: Callable[..., None]) -> None:
    before = threading.active_count()
    holds("import threading\nassert threading.active_count() == 1")
    assert threading.active_count() == before
