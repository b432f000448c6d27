"""worker/guard.py, the transfer: what is sent, how much and how long, what is no file, and TLS."""

import asyncio
import datetime
import ssl

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from worker.errors import JobError
from worker.guard import GuardedFetcher

from .small_net import BODY, PUBLIC, refused


async def test_a_public_file_arrives_whole(network, tmp_path):
    net, public, _ = network
    assert await GuardedFetcher().fetch("http://files.example/a.mp4?x=1", tmp_path / "in" / "f", 100_000) == len(BODY)
    assert (tmp_path / "in" / "f").read_bytes() == BODY
    assert net.connects == [(PUBLIC, 80)]
    assert public.requests[0].headers["Host"] == "files.example"
    assert public.requests[0].path_qs == "/a.mp4?x=1"


async def test_nothing_of_ours_travels(network, tmp_path, monkeypatch):
    _, public, inside = network
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://10.0.0.5:80")
    (tmp_path / "netrc").write_text("machine files.example login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    public.redirect("/start", "http://files.example/next")  # sets a cookie, too
    await GuardedFetcher().fetch("http://files.example/start", tmp_path / "f", 100_000)
    assert inside.requests == []
    for request in public.requests:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


async def test_a_file_that_is_too_large_is_cut_short(network, tmp_path):
    _, public, _ = network
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


async def test_the_time_limit_covers_headers_body_and_all_hops(network, tmp_path):
    _, public, _ = network

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


async def test_what_is_not_the_file_is_an_error_without_the_query(network, tmp_path):
    _, public, _ = network

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


async def test_a_name_without_address_and_a_closed_port(network, tmp_path):
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


async def test_tls_names_the_host_and_checks_it(network, tmp_path, tmp_path_factory):
    net, public, _ = network
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
