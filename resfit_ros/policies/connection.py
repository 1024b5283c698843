"""One client connection of the openpi protocol that never blocks for longer than it was told."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.policies.identity import SHOWN, identity_of
from resfit_ros.policies.wire import LARGEST_MESSAGE, pack, plain, unpack

FIRST_BACK_OFF_S, LARGEST_BACK_OFF_S = 0.2, 5.0
SHOWN_ERROR = 400  # characters of a server's traceback, its end
CLOSE_TIMEOUT_S = 0.2


class Connection:
    """Asks one question at a time; an answer that is late is never taken for that of a later question.

    After a failure the connection is closed, and attempts to open it again are spaced by 0.2 s,
    doubling up to 5 s; in between, a request fails at once.
    """

    def __init__(
        self,
        address: str,
        connect_timeout_s: float,
        api_key: str = "",
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._connect_timeout_s, self._clock_s = address, connect_timeout_s, clock_s
        self._headers = {"Authorization": f"Api-Key {api_key}"} if api_key else None
        self._connection: ClientConnection | None = None
        self._closing = ExitStack()  # of the connection at hand
        self._metadata: Mapping[str, Any] = {}
        self._server = ""  # identity of the metadata
        self._problem = ""
        self._back_off_s = 0.0
        self._not_before_s = -float("inf")

    def metadata(self) -> Mapping[str, Any]:
        """What the server said of itself when it was first connected; connects where needed."""
        self._open()
        return self._metadata

    def request(self, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer to `message`.

        Raises DataError naming the server where there is none within `timeout_s`, the connection
        breaks, or the server reports an error.
        """
        connection, data = self._open(), pack(message)
        deadline_s = time.monotonic() + timeout_s
        try:
            _send(connection, data, timeout_s)
            answer = connection.recv(timeout=max(deadline_s - time.monotonic(), 0.0))
            if isinstance(answer, str):
                raise DataError(f"it reports an error: {_end_of(answer)}")
            unpacked = unpack(answer)
        except TimeoutError:
            raise self._failed(f"no answer within {timeout_s:g} s") from None
        except ConnectionClosed as error:
            raise self._failed(f"the connection broke ({error})") from None
        except (OSError, DataError) as error:
            raise self._failed(str(error)) from None
        self._back_off_s = 0.0
        return unpacked

    def close(self) -> None:
        """Ends the connection."""
        self._connection = None
        self._closing.close()

    def _open(self) -> ClientConnection:
        if self._connection is not None:
            return self._connection
        wait_s = self._not_before_s - self._clock_s()
        if wait_s > 0:
            raise DataError(f"{self._problem}; it is tried again in {wait_s:.1f} s")
        connection = self._connect()
        try:
            greeting = connection.recv(timeout=self._connect_timeout_s)
            metadata = unpack(greeting if isinstance(greeting, bytes) else greeting.encode())
        except TimeoutError:
            raise self._failed(f"it accepted but sent no greeting within {self._connect_timeout_s:g} s") from None
        except (ConnectionClosed, OSError, DataError) as error:
            raise self._failed(f"its greeting cannot be used ({error})") from None
        self._connection = connection
        self._check_server(metadata)
        return connection

    def _connect(self) -> ClientConnection:
        try:
            return self._closing.enter_context(
                connect(
                    self._address,
                    compression=None,
                    max_size=LARGEST_MESSAGE,
                    additional_headers=self._headers,
                    open_timeout=self._connect_timeout_s,
                    close_timeout=CLOSE_TIMEOUT_S,
                    # A server that computes answers no ping; the request has a timeout of its own.
                    ping_interval=None,
                    proxy=None,
                )
            )
        except InvalidURI as error:
            raise ConfigError(f"{self._address}: not an address ({error}); write ws://HOST:PORT") from None
        except InvalidStatus as error:
            status = error.response.status_code
            advice = "; set api_key_env to the variable that holds its API key" if status in (401, 403) else ""
            raise self._failed(f"it refuses the connection with status {status}{advice}") from None
        except TimeoutError:
            raise self._failed(f"no connection within {self._connect_timeout_s:g} s") from None
        except (OSError, InvalidHandshake, EOFError) as error:
            raise self._failed(
                f"no connection ({error}); start the server, e.g. 'resfit serve-policy', or correct the address"
            ) from None

    def _check_server(self, metadata: Mapping[str, Any]) -> None:
        found = identity_of(about={"metadata": plain(metadata)})
        if self._server and found != self._server:
            self.close()
            self._put_off()
            self._problem = (
                f"policy server {self._address}: another policy answers there now ({found[:SHOWN]} instead of "
                f"{self._server[:SHOWN]}); start the one that was there, or restart this node"
            )
            raise MismatchError(self._problem)
        self._metadata, self._server = metadata, found

    def _failed(self, why: str) -> DataError:
        """Closes the connection and puts the next attempt off; returns the error to raise."""
        self.close()
        self._put_off()
        self._problem = f"policy server {self._address}: {why}"
        return DataError(self._problem)

    def _put_off(self) -> None:
        self._back_off_s = min(max(2 * self._back_off_s, FIRST_BACK_OFF_S), LARGEST_BACK_OFF_S)
        self._not_before_s = self._clock_s() + self._back_off_s


def _send(connection: ClientConnection, data: bytes, timeout_s: float) -> None:
    """Raises TimeoutError where sending takes longer."""
    if len(data) < _send_buffer(connection):
        connection.send(data)  # without the second thread below, which costs some tenths of a millisecond
        return
    with _cut_off_after(timeout_s, connection):
        connection.send(data)


def _send_buffer(connection: ClientConnection) -> float:
    """Bytes that can be sent without blocking.

    The kernel's buffer is empty: all of the question before was taken, or it would have had no answer.
    """
    try:
        return connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) / 2  # the rest is bookkeeping
    except OSError:
        return float("inf")  # closed by the other side: `send` says so at once


@contextmanager
def _cut_off_after(timeout_s: float, connection: ClientConnection) -> Iterator[None]:
    """Raises TimeoutError where what is done inside takes longer: `send` itself would wait for ever.

    The socket's own timeout cannot be used, the thread that receives shares it.
    """
    late = threading.Event()

    def cut_off() -> None:
        late.set()
        try:
            connection.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already

    timer = threading.Timer(timeout_s, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except ConnectionClosed:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def _end_of(text: str) -> str:
    """The end of a traceback says what happened."""
    words = " ".join(text.split())
    return words if len(words) <= SHOWN_ERROR else f"... {words[-SHOWN_ERROR:]}"
