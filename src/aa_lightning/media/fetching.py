"""Media fetched from http addresses: within a time and a size in all, and never from private networks unasked.

A name is resolved once, the answer is judged, and that very address is connected to, for every redirection anew: a name that
means another machine a moment later leads nowhere else. Proxies of the environment are not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import numpy as np

from aa_lightning.media import guard
from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import FetchOptions, GuardOptions

_REDIRECTIONS = 5
_MOVED = (301, 302, 303, 307, 308)
_KEPT_IN_PATHS = "/%:=&?~+!$,;'@()*[]"
_MEMORY = 2**26  # bytes beside the medium, which is held twice for a moment


def fetch(address: str, options: FetchOptions, max_bytes: int) -> bytes:
    """The bytes at an http address.

    Raises:
        MediaError: it is none, it leads to a private network, it cannot be reached, or it gives too much or too slowly.
    """
    if not address.startswith(("http://", "https://")):
        raise MediaError(f"{address!r} is not an http address; write `as: path` for files.")
    most = min(max_bytes, options.max_bytes)
    limits = GuardOptions(seconds=options.seconds, bytes=2 * most + _MEMORY)
    try:
        found = guard.call(fetched, address, options.private, most, what=address, limits=limits, within=options.seconds)
    except guard.TooSlow as error:
        raise MediaError(f"{address} takes more than {options.seconds:g} s (data.media.fetching.seconds).") from error
    return found["content"].tobytes()


def fetched(address: str, private: bool, most: int) -> guard.Arrays:
    """The bytes at an address, as an array. For the guarded process, which is ended when its time is over."""
    asked = address
    try:
        for _ in range(_REDIRECTIONS + 1):
            with closing(_connected(urlsplit(asked), private)) as connection:
                answer = _answer(connection, urlsplit(asked))
                if answer.status not in _MOVED or answer.headers["Location"] is None:
                    return {"content": np.frombuffer(_content(answer, asked, most), np.uint8)}
                asked = urljoin(asked, answer.headers["Location"])
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{asked} could not be fetched ({error or type(error).__name__}).") from error
    raise MediaError(f"{address} could not be fetched (it is redirected more than {_REDIRECTIONS} times).")


def _connected(parts: SplitResult, private: bool) -> HTTPConnection:
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MediaError(f"{parts.geturl()!r}, which it is redirected to, is not an http address.")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname, parts.port)
    family, *_, place = socket.getaddrinfo(parts.hostname, connection.port, type=socket.SOCK_STREAM)[0]
    if not private and not _is_public(place[0]):
        raise MediaError(
            f"{parts.geturl()} is at {place[0]}, which is no public address: set data.media.fetching.private=true to fetch "
            "from your own network."
        )
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.connect(place)
        secure = parts.scheme == "https"
        context = ssl.create_default_context() if secure else None
        connection.sock = context.wrap_socket(plain, server_hostname=parts.hostname) if secure else plain
    except BaseException:
        plain.close()
        raise
    return connection


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):  # forms that carry an address of version 4
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _answer(connection: HTTPConnection, parts: SplitResult) -> HTTPResponse:
    path = quote(parts._replace(scheme="", netloc="", fragment="").geturl() or "/", safe=_KEPT_IN_PATHS)
    connection.request("GET", path, headers={"User-Agent": "aa-lightning", "Accept": "*/*"})
    return connection.getresponse()


def _content(answer: HTTPResponse, address: str, most: int) -> bytes:
    if answer.status != 200:
        raise MediaError(f"{address} could not be fetched (HTTP {answer.status} {answer.reason}).")
    content = answer.read(most + 1)
    if len(content) > most:
        raise MediaError(
            f"{address} gives more than {most} bytes (data.media.fetching.max_bytes, data.media.*.max_bytes)."
        )
    if answer.length:  # of what it promised
        raise MediaError(f"{address} could not be fetched (it ends {answer.length} bytes too early).")
    return content
