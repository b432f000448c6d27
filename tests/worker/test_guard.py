"""worker/guard.py. Not one packet leaves loopback here, even if the guard is broken.

`Net` stands for the network: names are answered from its table, and every connect() is written down and led to a
server on loopback, or refused. What the guard must keep out is a server that counts who comes.
"""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.guard import GuardedFetcher, is_exempt, is_public, parse_url

PUBLIC = "93.184.215.14"
BODY = b"the file" * 1000

# As a URL's host. Each leads to what is not public.
INSIDE = [
    "10.0.0.5",
    "127.0.0.1",
    "localhost",
    "localhost.",
    "169.254.169.254",
    "100.64.0.1",
    "168.63.129.16",
    "0.0.0.0",
    "2130706433",
    "0177.0.0.1",
    "0x7f.1",
    "127.1",
    "[::1]",
    "[::]",
    "[::ffff:10.0.0.5]",
    "[::ffff:a00:5]",
    "[64:ff9b::a00:5]",
    "[2002:a00:5::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "inside.example",
    "mixed.example",
    "INSIDE.example.",
]


class Net:
    """Names and addresses of a small world; `connects` has every (address, port) anybody tried to reach."""

    def __init__(self):
        self.names: dict[str, list[list[str]]] = {
            "files.example": [[PUBLIC]],
            "other.example": [[PUBLIC]],
            "inside.example": [["10.0.0.5"]],
            "mixed.example": [[PUBLIC, "10.0.0.5"]],
            "rebind.example": [[PUBLIC], ["10.0.0.5"]],
            "localhost": [["127.0.0.1"]],
        }
        self.asked: list[str] = []
        self.connects: list[tuple[str, int]] = []
        self.to_public: dict[int, int] = {}  # port -> the loopback server's
        self.to_inside = 0

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        name = host.lower().rstrip(".")
        self.asked.append(name)
        if name in self.names:
            answers = self.names[name]
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        else:
            # Numbers in any writing, as the system reads them; never a question to a name server.
            addresses = [info[4][0] for info in _real_getaddrinfo(host, port, 0, type, 0, socket.AI_NUMERICHOST)]
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, type, 6, "", (a, port)) for a in addresses]

    def connect(self, sock: socket.socket, address) -> None:
        self.connects.append((address[0], address[1]))
        port = self.to_public.get(address[1]) if address[0] == PUBLIC else self.to_inside
        if not port or sock.family != socket.AF_INET:
            raise ConnectionRefusedError(111, "refused by the test's network")
        _real_connect(sock, ("127.0.0.1", port))


_real_getaddrinfo, _real_connect = socket.getaddrinfo, socket.socket.connect


class Canary:
    """An HTTP server that writes down every request; its answers by path."""

    def __init__(self):
        self.requests: list[web.Request] = []
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.connections = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.get(request.path)
        return await answer(request) if answer else web.Response(body=BODY)

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        async def answer(_):
            return web.Response(status=status, headers={"Location": location, "Set-Cookie": "id=1; Path=/"})

        self.answers[path] = answer

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return TestServer(app, host="127.0.0.1")


@pytest.fixture
async def world(monkeypatch):
    """(net, public canary, inside canary), and from here on no other network."""
    net, public, inside = Net(), Canary(), Canary()
    async with public.server() as public_server, inside.server() as inside_server:
        net.to_public = {80: public_server.port, 8080: public_server.port}
        net.to_inside = inside_server.port
        monkeypatch.setattr(socket, "getaddrinfo", net.getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect", lambda sock, address: net.connect(sock, address))
        yield net, public, inside


async def refused(fetcher: GuardedFetcher, url: str, tmp_path, max_bytes=100_000) -> JobError:
    with pytest.raises(JobError) as error:
        await fetcher.fetch(url, tmp_path / "file", max_bytes)
    assert list(tmp_path.iterdir()) == [], "something is left behind"
    return error.value


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.8.8.8", "169.254.169.254", "172.16.0.1"),
        *(
            "172.31.9.9",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
        ),
        *("255.255.255.255", "168.63.129.16", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254"),
        *("ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8"),
        *("2002:7f00:1::", "2001::1", "2001:db8::1", "3fff::1", "100::1", "fec0::1", "", "no address", "1.2.3"),
    ],
)
def test_what_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("8.8.8.8", PUBLIC, "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.167.1.1", "223.255.255.1"),
        *("2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"),
    ],
)
def test_what_is_public(address):
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_otherwise(ip):
    embedded = isinstance(ip, ipaddress.IPv6Address) and (
        ip.ipv4_mapped or ip.sixtofour or ip in ipaddress.ip_network("64:ff9b::/96")
    )
    if is_public(str(ip)) and not embedded:
        assert ip.is_global
        assert not ip.is_multicast


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://files.example/a",
            "file:///etc/passwd",
            "gopher://x/",
            "data:,x",
            "//files.example/a",
            "files.example/a",
        ),
        *("", "http://", "http:///a", "http://:80/a", "http://user@files.example/", "http://user:key@files.example/a"),
        *("http://:key@files.example/", "http://files.example:99999/", "http://files.example:0/", "http://[::1/"),
        *("http://files.example\\@10.0.0.5/", "http://files.example/a\r\nHost: x", "http://files.example/\x00"),
        *(" http://x/", "http://a b/"),
    ],
)
def test_what_is_no_url_to_fetch(url):
    with pytest.raises(JobError) as error:
        parse_url(url)
    assert error.value.code == "address_refused"
    assert "key" not in error.value.message


def test_a_url_in_its_parts():
    assert parse_url("HTTPS://Files.Example/a?b#c")[1:] == ("https", "files.example", 443)
    assert parse_url("http://[2606:4700::1111]:8080/")[1:] == ("http", "2606:4700::1111", 8080)
    assert parse_url("http://bücher.example/")[2] == "xn--bcher-kva.example"


def test_an_exemption_is_one_host_and_one_port():
    exempt = ["127.0.0.1:9000", "[::1]:9000"]
    assert is_exempt("127.0.0.1", 9000, exempt)
    assert is_exempt("::1", 9000, exempt)
    for host, port in (("127.0.0.1", 9001), ("localhost", 9000), ("127.0.0.2", 9000), ("27.0.0.1", 9000)):
        assert not is_exempt(host, port, exempt)


async def test_a_public_file_arrives_whole(world, tmp_path):
    net, public, _ = world
    assert await GuardedFetcher().fetch("http://files.example/a.mp4?x=1", tmp_path / "in" / "f", 100_000) == len(BODY)
    assert (tmp_path / "in" / "f").read_bytes() == BODY
    assert net.connects == [(PUBLIC, 80)]
    assert public.requests[0].headers["Host"] == "files.example"
    assert public.requests[0].path_qs == "/a.mp4?x=1"


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("port", ["", ":8080"])
async def test_an_inside_address_is_never_connected_to(world, tmp_path, host, port):
    net, _, inside = world
    error = await refused(GuardedFetcher(), f"http://{host}{port}/latest/meta-data", tmp_path)
    assert error.code == "address_refused"
    assert net.connects == []
    assert inside.requests == []


@pytest.mark.parametrize("host", INSIDE)
async def test_nor_is_one_a_redirect_leads_to(world, tmp_path, host):
    net, public, inside = world
    public.redirect("/start", f"http://{host}/latest/meta-data")
    error = await refused(GuardedFetcher(), "http://files.example/start", tmp_path)
    assert error.code == "address_refused"
    assert net.connects == [(PUBLIC, 80)]
    assert inside.requests == []


async def test_the_test_network_would_show_a_broken_guard(world, tmp_path, monkeypatch):
    """A test of the tests above: without the check, the inside server is reached and counts it."""
    net, _, inside = world
    monkeypatch.setattr("worker.guard.is_public", lambda address: True)
    await GuardedFetcher().fetch("http://inside.example/x", tmp_path / "f", 100_000)
    assert (net.connects, len(inside.requests)) == ([("10.0.0.5", 80)], 1)


async def test_a_name_that_changes_its_answer_gains_nothing(world, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    net, public, inside = world
    assert await GuardedFetcher().fetch("http://rebind.example/a", tmp_path / "f", 100_000) == len(BODY)
    assert net.asked.count("rebind.example") == 1
    assert (len(public.requests), len(inside.requests)) == (1, 0)
    assert (await refused(GuardedFetcher(), "http://rebind.example/a", other)).code == "address_refused"


async def test_it_is_resolved_and_checked_again_after_a_redirect_to_the_same_name(world, tmp_path):
    net, public, inside = world
    public.redirect("/start", "http://rebind.example/secret")
    assert (await refused(GuardedFetcher(), "http://rebind.example/start", tmp_path)).code == "address_refused"
    assert (net.connects, inside.requests) == ([(PUBLIC, 80)], [])


async def test_an_exempt_address_is_let_through_and_its_neighbour_is_not(world, tmp_path):
    _, public, inside = world
    fetcher = GuardedFetcher(exempt=["127.0.0.1:9000"])
    await fetcher.fetch("http://127.0.0.1:9000/a", tmp_path / "f", 100_000)
    (tmp_path / "f").unlink()
    assert len(inside.requests) == 1
    public.redirect("/start", "http://127.0.0.1:9001/")
    for url in ("http://127.0.0.1:9001/", "http://localhost:9000/", "http://files.example/start"):
        assert (await refused(fetcher, url, tmp_path)).code == "address_refused"
    assert len(inside.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_relative_ones_too(world, tmp_path, status):
    _, public, _ = world
    public.redirect("/a/start", "../b?c=1", status)
    await GuardedFetcher().fetch("http://files.example:8080/a/start", tmp_path / "f", 100_000)
    assert [r.path_qs for r in public.requests] == ["/a/start", "/b?c=1"]
    assert public.requests[1].headers["Host"] == "files.example:8080"


async def test_five_redirects_are_followed_and_the_sixth_is_not(world, tmp_path):
    _, public, _ = world
    for hop in range(6):
        public.redirect(f"/{hop}", f"/{hop + 1}")
    await GuardedFetcher().fetch("http://files.example/1", tmp_path / "f", 100_000)
    (tmp_path / "f").unlink()
    assert (await refused(GuardedFetcher(), "http://files.example/0", tmp_path)).code == "fetch_failed"


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://user:pw@other.example/", "http://[::1/", "ftp://x/"]
)
async def test_a_redirect_is_read_as_strictly_as_the_url(world, tmp_path, location):
    net, public, _ = world
    public.redirect("/start", location)
    error = await refused(GuardedFetcher(), "http://files.example/start", tmp_path)
    assert error.code in ("address_refused", "fetch_failed")
    assert len(net.connects) == 1


async def test_nothing_of_ours_travels(world, tmp_path, monkeypatch):
    _, public, inside = world
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://10.0.0.5:80")
    (tmp_path / "netrc").write_text("machine files.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    public.redirect("/start", "http://files.example/next")  # sets a cookie, too
    await GuardedFetcher().fetch("http://files.example/start", tmp_path / "f", 100_000)
    assert inside.requests == []
    for request in public.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


async def test_a_file_that_is_too_large_is_cut_short(world, tmp_path):
    _, public, _ = world
    sent = 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 100_000)
            sent += 100_000
        return response

    public.answers["/endless"] = endless
    for path, limit in (("/endless", 300_000), ("/a", len(BODY) - 1)):
        assert (await refused(GuardedFetcher(), f"http://files.example{path}", tmp_path, limit)).code == "too_large"
    assert sent < 50_000_000
    assert await GuardedFetcher().fetch("http://files.example/a", tmp_path / "f", len(BODY)) == len(BODY)


async def test_the_time_limit_covers_headers_body_and_all_hops(world, tmp_path):
    _, public, _ = world

    async def slow_head(_):
        await asyncio.sleep(5)
        return web.Response()

    async def slow_body(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(50):
            await response.write(b"x")
            await asyncio.sleep(0.1)
        return response

    async def slow_hop(request):
        await asyncio.sleep(0.2)
        return web.Response(status=302, headers={"Location": f"/hop{int(request.path[4:]) + 1}"})

    public.answers |= {"/head": slow_head, "/body": slow_body} | {f"/hop{n}": slow_hop for n in range(5)}
    for path in ("/head", "/body", "/hop0"):
        started = asyncio.get_running_loop().time()
        error = await refused(GuardedFetcher(timeout_s=0.5), f"http://files.example{path}", tmp_path)
        assert error.code == "fetch_timeout", path
        assert asyncio.get_running_loop().time() - started < 1.5


async def test_what_is_not_the_file_is_an_error_without_the_query(world, tmp_path):
    _, public, _ = world

    async def status(request):
        return web.Response(status=int(request.path[1:]))

    async def packed(_):
        return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})

    async def cut(request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        request.transport.close()
        return response

    public.answers |= {f"/{code}": status for code in (204, 206, 403, 404, 500)} | {"/packed": packed, "/cut": cut}
    for path in ("204", "206", "403", "404", "500", "packed", "cut"):
        error = await refused(GuardedFetcher(), f"http://files.example/{path}?X-Amz-Signature=secret", tmp_path)
        assert error.code == "fetch_failed", path
        assert "files.example" in error.message
        assert "secret" not in str(error.as_dict())


async def test_a_name_without_address_and_a_closed_port(world, tmp_path):
    for url in ("http://nobody.example/", "http://files.example:81/"):
        assert (await refused(GuardedFetcher(), url, tmp_path)).code == "fetch_failed"


def certificate(folder, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for a host name, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(cert.public_bytes(pem) + secret)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem")
    return server, ssl.create_default_context(cadata=cert.public_bytes(pem).decode())


async def test_tls_names_the_host_and_checks_it(world, tmp_path, tmp_path_factory):
    net, public, _ = world
    server_tls, client_tls = certificate(tmp_path_factory.mktemp("tls"), "files.example")
    names: list[str | None] = []
    server_tls.sni_callback = lambda sock, name, context: names.append(name)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", public.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_tls)
        await site.start()
        net.to_public[443] = runner.addresses[0][1]
        fetcher = GuardedFetcher(ssl_context=client_tls)
        assert await fetcher.fetch("https://files.example/a", tmp_path / "f", 100_000) == len(BODY)
        (tmp_path / "f").unlink()
        assert (names, public.requests[0].headers["Host"]) == (["files.example"], "files.example")

        # Another name on the same server: its certificate is not for it. And one nobody signed.
        for wrong in (fetcher.fetch("https://other.example/a", tmp_path / "f", 9), None):
            with pytest.raises(JobError) as error:
                await (wrong or GuardedFetcher().fetch("https://files.example/a", tmp_path / "f", 9))
            assert error.value.code == "fetch_failed"
            assert "certificate" in error.value.message

        public.redirect("/start", "http://files.example/plain")
        assert (await refused(fetcher, "https://files.example/start", tmp_path)).code == "address_refused"
        assert "/plain" not in [request.path for request in public.requests]
    finally:
        await runner.cleanup()
