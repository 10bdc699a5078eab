"""Requests to a server that judges: bounded in time and size, tried again where that may help, many at once, kept by content.

Nothing is sent but to the address that the user gave: no proxy is asked and no redirection is followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import queue
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aa_lightning.system.cache import cache_root
from aa_lightning.system.shown import one_line
from aa_lightning.system.store import Store

Body = dict[str, Any]
_LARGEST = 2**24  # bytes of an answer
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a second try; each next one waits twice as long
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_SHOWN = 200  # characters of what a server says


class Refused(ConnectionError):
    """A server gave no answer that can be used. `blame`: 1 where it gives none to anybody; less where it may."""

    def __init__(self, message: str, blame: float = 0.0):
        super().__init__(message)
        self.blame = blame


@dataclass(frozen=True)
class Address:
    """A server, and how long and how often it is asked.

    Attributes:
        url: where requests go.
        timeout: seconds for one request, all of it.
        tries: of one request.
        parallel: requests at a time.
        key: sent as a bearer token; None: none.
    """

    url: str
    timeout: float
    tries: int
    parallel: int
    key: str | None = field(default=None, repr=False)

    def post(self, body: Body) -> Any:
        """Send JSON and read JSON.

        Raises:
            Refused: after the last try.
        """
        for number in range(self.tries):
            try:
                return self._once(json.dumps(body).encode())
            except _Later as later:
                told, pause = later, max(_PAUSE * 2**number, later.pause)
            if number + 1 < self.tries:
                time.sleep(min(pause, _LONGEST_PAUSE))
        raise Refused(f"{self.url} {told} ({self.tries} tries)", told.blame)

    def _once(self, body: bytes) -> Any:
        place = urlsplit(self.url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=self.timeout)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers |= {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        try:
            connection.connect()
            with _ended_after(self.timeout, connection.sock) as over:
                target = f"{place.path or '/'}{'?' * bool(place.query)}{place.query}"
                try:
                    connection.request("POST", target, body, headers)
                    answer = connection.getresponse()
                    said = answer.read(_LARGEST + 1)
                    if answer.length and len(said) <= _LARGEST:  # a piece is read without complaint
                        raise http.client.IncompleteRead(said, answer.length)
                except (OSError, http.client.HTTPException):
                    if over.is_set():
                        raise TimeoutError from None
                    raise
                if over.is_set():
                    raise TimeoutError
        except TimeoutError:
            raise _Later(f"took longer than {self.timeout:g} s", blame=1 / 3) from None
        except (OSError, http.client.HTTPException) as error:
            raise _Later(f"broke off ({type(error).__name__}: {error})", blame=1.0) from None
        finally:
            connection.close()
        return self._read(answer, said)

    def _read(self, answer: http.client.HTTPResponse, said: bytes) -> Any:
        if answer.status in _AGAIN:
            asked = answer.headers.get("Retry-After", "")
            pause = float(asked) if re.fullmatch(r"\d{1,4}", asked) else 0.0
            raise _Later(f"answered {answer.status}: {_shown(said)}", pause=pause)
        if 300 <= answer.status < 400:
            raise Refused(
                f"{self.url} sends on to {one_line(answer.headers.get('Location'))!s:.100}, which was not named"
            )
        if answer.status != 200:
            raise Refused(f"{self.url} answered {answer.status}: {_shown(said)}")
        if len(said) > _LARGEST:
            raise Refused(f"{self.url} answered with more than {_LARGEST} bytes")
        try:
            return json.loads(said)
        except (ValueError, RecursionError):
            raise Refused(f"{self.url} answered with something that is no JSON: {_shown(said)}") from None


def address(url: str, timeout: float, tries: int, parallel: int, key_env: str | None) -> Address:
    """Return the address that options name.

    Args:
        key_env: the environment variable that holds the key; None: none.

    Raises:
        ValueError: no address, or a variable that is not set.
    """
    place = urlsplit(url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ValueError(f"url={url} is no address of a server: type http://<host>:<port>/<path>")
    if place.username or place.password:
        raise ValueError("url holds a password, which would stand in logs: name a variable that holds a key in key_env")
    if key_env is not None and not os.environ.get(key_env):
        raise ValueError(
            f"key_env={key_env} names an environment variable that is not set: type {key_env}=… before python"
        )
    return Address(url, timeout, tries, parallel, None if key_env is None else os.environ[key_env])


def answers(
    asked: Sequence[Body], several: int, ask: Callable[[Sequence[Body]], Sequence[float | str]], at: Address, keep: bool
) -> list[float | str]:
    """A number for each question, or why there is none. Equal questions are asked once.

    Args:
        asked: questions.
        several: how many are asked together.
        ask: asks some; answers each with a number, or says why it has none.
        at: the server.
        keep: whether numbers are kept in the cache, and looked for there first.
    """
    keys = [hashlib.sha256(f"{at.url}\0{json.dumps(one, sort_keys=True)}".encode()).digest() for one in asked]
    store = Store(cache_root() / "rewards") if keep else None
    kept = {} if store is None else store.get(dict.fromkeys(keys))
    found: dict[bytes, float | str] = {key: struct.unpack("<d", value)[0] for key, value in kept.items()}
    new = {key: one for key, one in zip(keys, asked, strict=True) if key not in found}
    told = _at_once([*new.values()], several, ask, at)
    found |= dict(zip(new, told, strict=True))
    if store is not None:
        store.put({key: struct.pack("<d", value) for key in new if isinstance(value := found[key], float)})
    return [found[key] for key in keys]


def _at_once(
    asked: Sequence[Body], several: int, ask: Callable[[Sequence[Body]], Sequence[float | str]], at: Address
) -> list[float | str]:
    """Ask in threads that end with this process. Once the server is known to be down nothing more is asked."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Sequence[float | str]]] = queue.SimpleQueue()
    blamed: list[tuple[float, str]] = []
    starts = range(0, len(asked), several)
    for start in starts:
        todo.put(start)

    def work() -> None:
        while True:
            try:
                start = todo.get_nowait()
            except queue.Empty:
                return
            some = asked[start : start + several]
            if sum(blame for blame, _ in blamed) > 0.99:
                done.put((start, [blamed[-1][1]] * len(some)))
                continue
            try:
                done.put((start, ask(some)))
            except Exception as error:
                if isinstance(error, Refused):
                    blamed.append((error.blame, str(error)))
                done.put((start, [str(error) or type(error).__name__] * len(some)))

    for _ in range(min(at.parallel, len(starts))):
        threading.Thread(target=work, daemon=True, name="judge").start()
    found: list[float | str] = [""] * len(asked)
    for _ in starts:
        start, told = done.get()
        found[start : start + len(told)] = told
    return found


class _Later(Exception):
    """A try failed, and another one may not."""

    def __init__(self, message: str, blame: float = 0.0, pause: float = 0.0):
        super().__init__(message)
        self.blame, self.pause = blame, pause


@contextlib.contextmanager
def _ended_after(seconds: float, sock: socket.socket) -> Iterator[threading.Event]:
    """Close a connection when its time is over, however slowly bytes come; the event tells that this was done."""
    over = threading.Event()

    def end() -> None:
        over.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def _shown(said: bytes) -> str:
    """The beginning of what a server said, harmless where it is shown."""
    return one_line(said[:_SHOWN].decode("utf-8", errors="replace"))
