"""Whether a host can be reached, asked before a client would retry for half a minute."""

from __future__ import annotations

import socket

__all__ = ["is_reachable"]


def is_reachable(host: str, port: int = 443, timeout: float = 3.0) -> bool:
    """Whether `host` accepts a TCP connection within `timeout` seconds."""
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except OSError:
        return False
    return True
