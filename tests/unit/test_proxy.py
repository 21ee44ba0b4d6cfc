"""The proxy passes on what it must and spoils what it is told to."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.proxy import HttpProxy
from support.proxy_faults import (
    Answer,
    CutAnswer,
    CutUpload,
    Delay,
    LostAnswer,
    Match,
    Refuse,
    SkewDate,
    denied,
    slow_down,
)
from support.tcp_proxy import TcpProxy

BIG = bytes(range(256)) * 4096
GONE = (http.client.HTTPException, OSError)


class Store(ThreadingHTTPServer):
    """Objects by path; a body of a listing says how many objects there are."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.hosts: list[str] = []
        self.cut_uploads: list[int] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def store(self) -> Store:
        assert isinstance(self.server, Store)
        return self.server

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.store.cut_uploads.append(len(body))
            self.close_connection = True
            return
        self.store.objects[self.path] = body
        self._answer(b"")

    def do_GET(self) -> None:
        self.store.hosts.append(self.headers["Host"])
        if "list-type" in self.path:
            self._answer(str(len(self.store.objects)).encode())
        elif self.path.endswith("/chunked"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        else:
            self._answer(self.store.objects.get(self.path, b""))

    def do_HEAD(self) -> None:
        self._answer(self.store.objects.get(self.path, b""), body=False)

    def _answer(self, content: bytes, *, body: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def store() -> Generator[Store]:
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(store: Store) -> Generator[HttpProxy]:
    with HttpProxy(f"http://127.0.0.1:{store.server_port}") as made:
        yield made


class Client:
    """One connection, made anew when it was cut."""

    def __init__(self, proxy: HttpProxy) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        self.date = ""

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, body)
            answer = self._connection.getresponse()
            self.date = answer.headers.get("Date", "")
            return answer.status, answer.read()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()


@pytest.fixture
def client(proxy: HttpProxy) -> Generator[Client]:
    with Client(proxy) as made:
        yield made


def test_passes_on_bodies_and_the_host_header(
    store: Store, proxy: HttpProxy, client: Client
) -> None:
    assert client.ask("PUT", "/b/k%20%2B", BIG) == (200, b"")
    assert client.ask("GET", "/b/k%20%2B") == (200, BIG)
    assert client.ask("HEAD", "/b/k%20%2B") == (200, b"")
    assert client.ask("GET", "/b/chunked") == (200, b"abcde")
    assert store.hosts == [f"127.0.0.1:{proxy.port}"] * 2
    assert [one.request.path for one in proxy.seen(Match(kind="PUT"))] == ["/b/k +"]
    assert proxy.counts() == {"PUT": 1, "GET": 2, "HEAD": 1}


def test_answers_an_error_for_the_first_so_many(store: Store, proxy: HttpProxy) -> None:
    rule = proxy.on(Match(method="PUT", path="/snapshot/"), slow_down(), times=2)
    with Client(proxy) as client:
        assert client.ask("PUT", "/b/data/1", b"x")[0] == 200
        status, body = client.ask("PUT", "/b/snapshot/1", b"x")
        assert (status, b"<Code>SlowDown</Code>" in body) == (503, True)
        assert client.ask("PUT", "/b/snapshot/1", b"x")[0] == 503
        assert store.objects == {"/b/data/1": b"x"}
        assert client.ask("PUT", "/b/snapshot/1", b"x")[0] == 200
    assert rule.hits == 2


def test_strikes_from_the_nth_on(proxy: HttpProxy, client: Client) -> None:
    proxy.on(Match(kind="GET"), denied(), nth=3)
    assert [client.ask("GET", "/b/k")[0] for _ in range(4)] == [200, 200, 403, 200]


def test_strikes_a_share_of_them_the_same_with_the_same_seed(
    proxy: HttpProxy, client: Client
) -> None:
    runs: list[list[int]] = []
    for seed in (7, 7, 8):
        with proxy.storm(Answer(500, "InternalError"), share=0.3, seed=seed):
            runs.append([client.ask("GET", "/b/k")[0] for _ in range(60)])
    assert runs[0] == runs[1] != runs[2]
    assert 5 <= runs[0].count(500) <= 30
    assert client.ask("GET", "/b/k")[0] == 200


def test_loses_an_answer_but_not_the_request(
    store: Store, proxy: HttpProxy, client: Client
) -> None:
    proxy.on(Match(kind="PUT"), LostAnswer())
    with pytest.raises(GONE):
        client.ask("PUT", "/b/k", b"done")
    assert store.objects == {"/b/k": b"done"}
    assert [(one.status, one.fault) for one in proxy.seen()] == [(0, LostAnswer())]


def test_refuses_before_the_store_hears_of_it(
    store: Store, proxy: HttpProxy, client: Client
) -> None:
    proxy.on(Match(kind="PUT"), Refuse())
    with pytest.raises(GONE):
        client.ask("PUT", "/b/k", b"never")
    assert store.objects == {}


def test_cuts_an_answer_in_its_body(store: Store, proxy: HttpProxy, client: Client) -> None:
    store.objects["/b/k"] = BIG
    proxy.on(Match(kind="GET"), CutAnswer(after=1000))
    with pytest.raises(http.client.IncompleteRead) as cut:
        client.ask("GET", "/b/k")
    assert cut.value.partial == BIG[:1000]
    assert client.ask("GET", "/b/k") == (200, BIG)


def test_cuts_an_upload_in_its_body(store: Store, proxy: HttpProxy, client: Client) -> None:
    proxy.on(Match(kind="PUT"), CutUpload(after=1000))
    with pytest.raises(GONE):
        client.ask("PUT", "/b/k", BIG)
    deadline = time.monotonic() + 10
    while not store.cut_uploads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (store.cut_uploads, store.objects) == ([1000], {})


def test_delays_and_counts_requests_in_flight(proxy: HttpProxy) -> None:
    proxy.on(Match(), Delay(0.3), times=None)

    def ask(number: int) -> int:
        with Client(proxy) as client:
            return client.ask("GET", f"/b/{number}")[0]

    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(ask, range(64))) == [200] * 64
    assert 32 <= proxy.max_in_flight <= 64
    assert min(one.seconds for one in proxy.seen()) >= 0.3


def test_moves_the_date(proxy: HttpProxy, client: Client) -> None:
    proxy.on(Match(), SkewDate(86_400 * 400))
    client.ask("GET", "/b/k")
    far = client.date
    client.ask("GET", "/b/k")
    moved = parsedate_to_datetime(far) - parsedate_to_datetime(client.date)
    assert abs(moved.total_seconds() - 86_400 * 400) < 60


def test_goes_away_and_comes_back(proxy: HttpProxy, client: Client) -> None:
    assert client.ask("GET", "/b/k")[0] == 200
    with proxy.away():
        for _ in range(2):
            with pytest.raises(GONE):
                client.ask("GET", "/b/k")
    assert client.ask("GET", "/b/k")[0] == 200


def test_listings_lag_behind(proxy: HttpProxy, client: Client) -> None:
    listing = "/b?list-type=2&prefix=d"
    proxy.stale_listings(replays=2)
    assert client.ask("GET", listing) == (200, b"0")
    client.ask("PUT", "/b/k", b"x")
    assert [client.ask("GET", listing)[1] for _ in range(3)] == [b"0", b"0", b"1"]
    assert client.ask("GET", "/b?list-type=2&prefix=e")[1] == b"1"
    client.ask("PUT", "/b/l", b"x")
    assert client.ask("GET", listing)[1] == b"1"
    proxy.stale_listings()
    assert client.ask("GET", listing)[1] == b"2"


@pytest.fixture
def echo() -> Generator[int]:
    """A server that answers each piece with itself in capitals."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def talk(peer: socket.socket) -> None:
        with peer:
            while piece := peer.recv(4096):
                peer.sendall(piece.upper())

    def serve() -> None:
        while not ended.is_set():
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    ended.set()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def talk_to(proxy: TcpProxy, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line:
        line.sendall(text)
        return line.recv(4096)


def test_tcp_passes_cuts_stalls_goes_and_comes_back(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo) as proxy:
        assert talk_to(proxy, b"hello") == b"HELLO"
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line:
            line.sendall(b"one")
            assert line.recv(10) == b"ONE"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                _ = line.recv(10) or raise_reset()
        with proxy.away(), pytest.raises(OSError, match="refused"):
            talk_to(proxy, b"hello")
        proxy.stall()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(talk_to, proxy, b"later")
            time.sleep(0.1)
            assert not waiting.done()
            proxy.resume()
            assert waiting.result(5) == b"LATER"


def raise_reset() -> bytes:
    """An end in order serves a cut as well as a reset."""
    raise ConnectionResetError


def test_tcp_loses_the_answer_to_a_request(echo: int) -> None:
    with TcpProxy("127.0.0.1", echo) as proxy:
        proxy.lose_answer(b"commit")
        assert talk_to(proxy, b"insert") == b"INSERT"
        try:
            answer = talk_to(proxy, b"commit")
        except ConnectionResetError:
            answer = b""
        assert (answer, proxy.lost) == (b"", 1)
        assert talk_to(proxy, b"commit") == b"COMMIT"
