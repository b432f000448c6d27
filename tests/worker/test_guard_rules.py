"""worker/guard.py, its rules alone: which addresses are public, which URLs are fetched, what an exemption covers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.guard import is_exempt, is_public, parse_url

from .small_net import PUBLIC


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
