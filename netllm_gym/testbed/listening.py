"""Sockets that listen."""

from __future__ import annotations

import socket

from netllm_gym.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 lets the system choose one.

    Raises:
        ConfigError: the address is taken or not this machine's.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"a port lies between 0 and 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from None
    return listener
