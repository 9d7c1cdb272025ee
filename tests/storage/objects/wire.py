"""A connection to a server that can be cut, and that can lose the answer to a request."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Wire:
    """Passes bytes on between clients and a server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._open: list[socket.socket] = []
        self.is_cut = False
        self.loses: str | None = None
        """The answer to the next request that contains this text is lost."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """No request gets through any more."""
        self.is_cut = True
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.is_cut:
                return
            with socket.create_connection(self._server) as server:
                self._open += [client, server]
                asked = client.recv(1 << 16)
                lost = self.loses is not None and self.loses.encode() in asked
                if lost:
                    self.loses = None
                back = threading.Thread(target=_answer, args=(server, client, lost), daemon=True)
                back.start()
                while asked:
                    server.sendall(asked)
                    asked = client.recv(1 << 16)
                back.join()


def _answer(server: socket.socket, client: socket.socket, lost: bool) -> None:
    with contextlib.suppress(OSError):
        while part := server.recv(1 << 16):
            if lost:
                client.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(part)
        client.shutdown(socket.SHUT_WR)
