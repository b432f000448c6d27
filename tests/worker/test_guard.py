"""worker/guard.py keeps inside addresses out: by number, by name, by redirect and by changing answers."""

import pytest

from worker.guard import GuardedFetcher

from .small_net import BODY, PUBLIC, refused

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


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("port", ["", ":8080"])
async def test_an_inside_address_is_never_connected_to(network, tmp_path, host, port):
    net, _, inside = network
    error = await refused(GuardedFetcher(), f"http://{host}{port}/latest/meta-data", tmp_path)
    assert error.code == "address_refused"
    assert net.connects == []
    assert inside.requests == []


@pytest.mark.parametrize("host", INSIDE)
async def test_nor_is_one_a_redirect_leads_to(network, tmp_path, host):
    net, public, inside = network
    public.redirect("/start", f"http://{host}/latest/meta-data")
    error = await refused(GuardedFetcher(), "http://files.example/start", tmp_path)
    assert error.code == "address_refused"
    assert net.connects == [(PUBLIC, 80)]
    assert inside.requests == []


async def test_the_test_network_would_show_a_broken_guard(network, tmp_path, monkeypatch):
    """A test of the tests above: without the check, the inside server is reached and counts it."""
    net, _, inside = network
    monkeypatch.setattr("worker.guard.is_public", lambda address: True)
    await GuardedFetcher().fetch("http://inside.example/x", tmp_path / "f", 100_000)
    assert (net.connects, len(inside.requests)) == ([("10.0.0.5", 80)], 1)


async def test_a_name_that_changes_its_answer_gains_nothing(network, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    net, public, inside = network
    assert await GuardedFetcher().fetch("http://rebind.example/a", tmp_path / "f", 100_000) == len(BODY)
    assert net.asked.count("rebind.example") == 1
    assert (len(public.requests), len(inside.requests)) == (1, 0)
    assert (await refused(GuardedFetcher(), "http://rebind.example/a", other)).code == "address_refused"


async def test_it_is_resolved_and_checked_again_after_a_redirect_to_the_same_name(network, tmp_path):
    net, public, inside = network
    public.redirect("/start", "http://rebind.example/secret")
    assert (await refused(GuardedFetcher(), "http://rebind.example/start", tmp_path)).code == "address_refused"
    assert (net.connects, inside.requests) == ([(PUBLIC, 80)], [])


async def test_an_exempt_address_is_let_through_and_its_neighbour_is_not(network, tmp_path):
    _, public, inside = network
    fetcher = GuardedFetcher(exempt=["127.0.0.1:9000"])
    await fetcher.fetch("http://127.0.0.1:9000/a", tmp_path / "f", 100_000)
    (tmp_path / "f").unlink()
    assert len(inside.requests) == 1
    public.redirect("/start", "http://127.0.0.1:9001/")
    for url in ("http://127.0.0.1:9001/", "http://localhost:9000/", "http://files.example/start"):
        assert (await refused(fetcher, url, tmp_path)).code == "address_refused"
    assert len(inside.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_relative_ones_too(network, tmp_path, status):
    _, public, _ = network
    public.redirect("/a/start", "../b?c=1", status)
    await GuardedFetcher().fetch("http://files.example:8080/a/start", tmp_path / "f", 100_000)
    assert [r.path_qs for r in public.requests] == ["/a/start", "/b?c=1"]
    assert public.requests[1].headers["Host"] == "files.example:8080"


async def test_five_redirects_are_followed_and_the_sixth_is_not(network, tmp_path):
    _, public, _ = network
    for hop in range(6):
        public.redirect(f"/{hop}", f"/{hop + 1}")
    await GuardedFetcher().fetch("http://files.example/1", tmp_path / "f", 100_000)
    (tmp_path / "f").unlink()
    assert (await refused(GuardedFetcher(), "http://files.example/0", tmp_path)).code == "fetch_failed"


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://user:pw@other.example/", "http://[::1/", "ftp://x/"]
)
async def test_a_redirect_is_read_as_strictly_as_the_url(network, tmp_path, location):
    net, public, _ = network
    public.redirect("/start", location)
    error = await refused(GuardedFetcher(), "http://files.example/start", tmp_path)
    assert error.code in ("address_refused", "fetch_failed")
    assert len(net.connects) == 1
