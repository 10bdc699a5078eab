"""Media are fetched within a time and a size in all, from public addresses alone, by a server on this machine."""

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aa_lightning.media import MediaError, Url, fetching
from aa_lightning.media.fetching import fetch
from aa_lightning.media.image import decode
from aa_lightning.media.options import FetchOptions, ImageOptions

from .rows import picture

OWN = FetchOptions(private=True, seconds=5.0)


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        place, _, rest = self.path[1:].partition("/")
        if place == "to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif place.startswith("red.png"):
            self.answer(picture())
        elif place == "cut":
            self.answer(picture(), promised=len(picture()) + 9)
        elif place == "much":
            self.answer(bytes(200_000))
        elif place == "slow":
            self.answer(b"", promised=1000)
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.05)
        else:
            self.send_error(404)

    def answer(self, content, promised=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if promised is None else promised))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError):  # who asked has left
            super().handle()


@pytest.fixture(scope="module")
def here():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_fetched_when_the_user_said_so(here):
    assert decode(Url(f"{here}/red.png", OWN)).getpixel((0, 0)) == (255, 0, 0)
    assert decode(Url(f"{here}/to//to//red.png?a=b%20c&d=é", OWN)).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("gone.png", OWN, r"could not be fetched \(HTTP 404 Not Found\)"),
        ("cut", OWN, "ends 9 bytes too early"),
        (
            "much",
            FetchOptions(private=True, max_bytes=199_999),
            r"gives more than 199999 bytes \(data.media.fetching.max_",
        ),
        ("to/file:///etc/hosts", OWN, "which it is redirected to, is not an http address"),
        ("to//" * 7 + "red.png", OWN, "redirected more than 5 times"),
        (
            "red.png",
            FetchOptions(),
            "is at 127.0.0.1, which is no public address: set data.media.fetching.private=true",
        ),
    ],
)
def test_what_cannot_be_fetched_says_why(here, path, options, reason):
    with pytest.raises(MediaError, match=reason):
        fetch(f"{here}/{path}", options, 2**20)


def test_the_time_is_one_for_the_whole_medium_however_often_a_byte_comes(here):
    start = time.monotonic()
    with pytest.raises(MediaError, match=r"takes more than 0.5 s \(data.media.fetching.seconds\)"):
        fetch(f"{here}/slow", FetchOptions(private=True, seconds=0.5), 2**20)
    assert time.monotonic() - start < 3


def test_the_limit_of_a_medium_holds_for_what_is_fetched(here):
    with pytest.raises(MediaError, match="gives more than 50 bytes"):
        decode(Url(f"{here}/red.png", OWN), ImageOptions(max_bytes=50))


def test_every_redirection_is_judged_anew(here, monkeypatch):
    """127.0.0.1 counts as public here, and 127.0.0.2 does not."""
    monkeypatch.setattr(fetching, "_is_public", lambda address: address == "127.0.0.1")
    there = here.replace("127.0.0.1", "127.0.0.2")
    assert len(fetching.fetched(f"{here}/to//red.png", False, 2**20)["content"]) == len(picture())
    with pytest.raises(MediaError, match="is at 127.0.0.2, which is no public address"):
        fetching.fetched(f"{here}/to/{there}/red.png", False, 2**20)


def test_a_name_is_resolved_once_and_what_was_judged_is_connected_to(here, monkeypatch):
    """A name that means one address at first and another one later; the second answer is never asked for."""
    port, asked, judged = int(here.rpartition(":")[2]), [], []

    def resolved(name, *rest, **options):
        asked.append(name)
        place = ("127.0.0.1" if len(asked) == 1 else "127.0.0.9", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(fetching, "_is_public", lambda address: judged.append(address) or True)
    assert len(fetching.fetched(f"http://pictures.test:{port}/red.png", False, 2**20)["content"]) == len(picture())
    assert asked == ["pictures.test"] and judged == ["127.0.0.1"]


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.8.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
        ),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::"),
    ],
)
def test_private_loopback_and_local_addresses_are_not_public(address):
    assert not fetching._is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_other_addresses_are_public(address):
    assert fetching._is_public(address)
