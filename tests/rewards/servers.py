"""Servers on this machine that judge, well or in every way that is wrong."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, dict(self.headers), body))
        with contextlib.suppress(OSError):
            self.server.behave(self, body)

    def log_message(self, *args):
        pass

    def answer(self, said, status=200, **headers):
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(behave):
    """A server that answers each request by a function of its handler and of what was sent."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.behave, server.asked = behave, []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def lengths(handler, body):
    """As reward servers of align-anything do: a number for each response."""
    handler.answer({"rewards": [len(one) / 10 for one in body["responses"]]})


def says(words):
    """A chat model that says this."""
    return lambda handler, body: handler.answer(
        {"choices": [{"message": {"role": "assistant", "content": words(body)}}]}
    )


def after(times, first, then):
    """Behave in one way so many times, and then in another."""
    left = [times]

    def behave(handler, body):
        left[0] -= 1
        (first if left[0] >= 0 else then)(handler, body)

    return behave


def drip(handler, body):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def die(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"rewards": [')
    handler.wfile.flush()
    handler.connection.close()


FAULTS = {
    "status 500": lambda handler, body: handler.answer({"error": "out of memory"}, 500),
    "status 400": lambda handler, body: handler.answer({"error": "Missing \x1b[31mprompts"}, 400),
    "busy": lambda handler, body: handler.answer(b"", 429),
    "no json": lambda handler, body: handler.answer(b"<html>Hello</html>"),
    "deep": lambda handler, body: handler.answer(b"[" * 200_000),
    "no rewards": lambda handler, body: handler.answer({"scores": [1.0]}),
    "too few": lambda handler, body: handler.answer({"rewards": [1.0]}),
    "text": lambda handler, body: handler.answer({"rewards": ["good" for _ in body["responses"]]}),
    "null": lambda handler, body: handler.answer({"rewards": [None for _ in body["responses"]]}),
    "nan": lambda handler, body: handler.answer(
        b'{"rewards": [' + b",".join([b"NaN"] * len(body["responses"])) + b"]}"
    ),
    "huge": lambda handler, body: handler.answer(b" " * (2**24 + 5)),
    "sends on": lambda handler, body: handler.answer(b"", 307, Location="http://example.org/other"),
    "drips": drip,
    "hangs": lambda handler, body: time.sleep(3),
    "dies": die,
    "closes": lambda handler, body: handler.connection.close(),
}
