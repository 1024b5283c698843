"""Who may use the console: the Host and Origin of a request, and the token.

Any web page can make a browser talk to 127.0.0.1. Three checks keep other sites out: the Host header
(DNS rebinding), the Origin of websockets and posts (scripts of other sites), and, for everything but
this computer alone, a token that only the operator has.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from resfit_ros.core.errors import ConfigError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
SHORTEST_TOKEN = 12  # characters
TOKEN_BYTES = 18  # of a generated one
BEARER = "Bearer "


def is_local(host: str) -> bool:
    """Whether an address to listen on is reachable from this computer alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def choose_token(host: str, given: str) -> str:
    """The token to ask for; empty: none, on this computer alone. One is made where the network can connect.

    Raises ConfigError on one that is too short to keep anybody out.
    """
    if given and len(given) < SHORTEST_TOKEN:
        raise ConfigError(f"--token has {len(given)} characters; give at least {SHORTEST_TOKEN}, or none")
    return given or ("" if is_local(host) else secrets.token_urlsafe(TOKEN_BYTES))


def own_names() -> tuple[str, ...]:
    """Names by which others may call this computer."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return tuple(dict.fromkeys((name, short, f"{short}.local")))


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    host: the address it listens on; token: empty for none; names: further names people reach it by.
    """

    host: str
    token: str = ""
    names: tuple[str, ...] = field(default_factory=own_names)

    def refuses(self, headers: Mapping[str, str], needs_origin: bool) -> str:
        """Why a request is refused, in words; empty: it is not. The token is another matter."""
        host = headers.get("Host", "")
        if not self._knows(host):
            return "this address is not one of the console's; give its name with --allow-host"
        origin = headers.get("Origin")
        if origin is None:
            return "a websocket or a press without an Origin is not heard" if needs_origin else ""
        parts = _split(origin)
        if parts is None or parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
            return "pages of other sites are not heard"
        return ""

    def has_token(self, given: object) -> bool:
        """Whether the token is right; takes as long for a wrong one as for a right one."""
        if not self.token:
            return True
        return isinstance(given, str) and hmac.compare_digest(_as_bytes(given), _as_bytes(self.token))

    def has_bearer(self, headers: Mapping[str, str]) -> bool:
        """Whether header Authorization carries the token."""
        value = headers.get("Authorization", "")
        return self.has_token(value.removeprefix(BEARER) if value.startswith(BEARER) else "")

    def _knows(self, host: str) -> bool:
        parts = _split(f"http://{host}")
        name = (parts.hostname or "") if parts is not None else ""
        if not name or parts.path or parts.query or parts.username:
            return False
        if name in LOCAL_NAMES or name == self.host.lower() or name in self.names:
            return True
        if is_local(self.host):
            return False
        # A name that is rebound is not an address: whoever writes the number means this computer.
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # JSON may hold half a character


def _split(url: str):
    """The parts of an address, None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked only when it is read
    except ValueError:
        return None
    return parts
