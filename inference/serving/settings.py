"""How a server behaves: limits, batching, access. Defaults suit two cores.

Settings(max_texts=100, tokens=("a-long-secret",))
"""

import ipaddress
from dataclasses import dataclass, field

from inference.serving.errors import ServingError

LOOPBACK = "127.0.0.1"
PRIVATE_NETWORKS = f"{LOOPBACK},10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Where the proxy of a Space stands; nothing else reaches the app there."""
_MAY_BE_ZERO = ("window_ms", "rate_limit")


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; the defaults are also those of the command line."""

    window_ms: float = 3.0
    """How long a batch waits for more requests, when several came at once a moment ago; never when idle."""
    batch_tokens: int = 768
    """Tokens that are computed at once."""
    max_queue: int = 1024
    """Texts that may wait, or be in work, for one model."""
    max_queue_tokens: int = 131_072
    """Tokens that may wait, or be in work, for one model."""
    max_texts: int = 1000
    """Texts of one request."""
    max_body_mb: float = 4.0
    """Size of one request's body."""
    max_bodies_mb: float = 64.0
    """Size of all bodies that are being received or answered."""
    body_timeout_s: float = 20.0
    """Time in which a request's head must have arrived, and then its body."""
    deadline_s: float = 60.0
    """Time in which an answer must be ready, from the arrival of the body on."""
    rate_limit: float = 0.0
    """Texts a second that one client may send on average, in bursts of ten seconds' worth; 0: any number."""
    cors_origins: tuple[str, ...] = ()
    """Web pages that may call the server from a browser; none by default."""
    tokens: tuple[str, ...] = field(default=(), repr=False)
    """Bearer tokens, any one of which opens the server; none: it is open. Never printed."""
    trusted_proxies: str = LOOPBACK
    """Addresses and networks, with commas, whose X-Forwarded-For tells who the client is; `*`: anybody's."""
    log_texts: bool = False
    """Whether the log may hold the texts."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) in (int, float) and not (
                0 < value < 1e12 or (value == 0 and name in _MAY_BE_ZERO)
            ):
                raise ServingError(f"{name} is {value:g}. Give a number above 0.")
        for item in self.trusted_proxies.split(","):
            if item.strip() != "*" and not _is_network(item.strip()):
                raise ServingError(
                    f"trusted_proxies has {item.strip()!r}, which is no address. "
                    "Give addresses or networks such as 10.0.0.0/8, with commas."
                )


def _is_network(given: str) -> bool:
    try:
        ipaddress.ip_network(given)
        return True
    except ValueError:
        return False
