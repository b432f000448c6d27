"""Fetching a stranger's URL without becoming their door into the network.

Every hop: the scheme is http or https, the URL carries no user or password, the host is resolved once, every address
it has is public, and the connection goes to those very addresses - so a name that answers differently the second time
(DNS rebinding) gains nothing. Redirects are followed by hand, each target checked as the first was. Nothing of ours
travels: no cookies, no credentials, no proxy settings. Only a `host:port` on the exempt list is let through unchecked.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from .errors import JobError

Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_REDIRECTS = 5
_CHUNK_BYTES = 256 * 1024
_REDIRECTS = {301, 302, 303, 307, 308}

# Special-purpose ranges of the IANA registries, in full: Python's is_global has changed between patch releases.
_NOT_PUBLIC_V4 = [
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Azure answers its virtual machines' metadata and agent calls on this one public-looking address.
        "168.63.129.16/32",
    )
]
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
# Inside 2000::/3: IETF protocols (Teredo, ORCHID, benchmarking), documentation.
_NOT_PUBLIC_V6 = [ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "3fff::/20")]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Target(NamedTuple):
    """A URL that may be asked for, in the parts a connection uses. `host` is lower case, IPv6 without brackets."""

    url: yarl.URL
    scheme: str
    host: str
    port: int


def parse_url(text: str) -> Target:
    """Text -> Target. Raises JobError address_refused: another scheme, userinfo, no host, characters no URL has."""
    if not isinstance(text, str) or re.search(r"[\x00-\x20\x7f\\]", text):
        raise JobError("address_refused", detail="It is not a URL: it has spaces, backslashes or control characters.")
    try:
        url = yarl.URL(text)
        host, port = (url.raw_host or "").lower(), url.port
    except ValueError:
        raise JobError("address_refused", detail="It is not a URL that can be read.") from None
    if url.scheme not in ("http", "https"):
        raise JobError("address_refused", detail=f"The scheme is {url.scheme or 'missing'!r}, not http or https.")
    if url.raw_user is not None or url.raw_password is not None:
        raise JobError("address_refused", detail="It carries a user name or password.", hint="Use a presigned URL.")
    if not host or not port:
        raise JobError("address_refused", detail="It names no host.")
    return Target(url, url.scheme, host, port)


def is_public(address: str) -> bool:
    """Whether an IP address is an ordinary one on the internet. An IPv4 inside an IPv6 is judged as the IPv4 it is."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if embedded is None and ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded is None:
            return ip in _GLOBAL_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)
        ip = embedded
    return not any(ip in network for network in _NOT_PUBLIC_V4)


def is_exempt(host: str, port: int, exempt: Collection[str]) -> bool:
    """Whether exactly this host:port (IPv6 in brackets) is on the list. Not its addresses, not its other ports."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return name.lower() in {item.lower() for item in exempt}


def check_addresses(host: str, port: int, addresses: list[str], exempt: Collection[str] = ()) -> list[str]:
    """The addresses a host resolved to, if all of them are public. Raises JobError address_refused."""
    if not is_exempt(host, port, exempt):
        # One private address among public ones is how a rebinding answer looks: all or nothing.
        for address in addresses:
            if not is_public(address):
                raise JobError(
                    "address_refused", detail=f"{host} leads to a private, local or reserved address of the network."
                )
    return addresses


async def resolve_host(host: str, port: int) -> list[str]:
    """Every address of a host, in the system's order. Raises JobError fetch_failed when the name has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise JobError("fetch_failed", detail=f"The host name {host} has no address.") from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class PinnedResolver(AbstractResolver):
    """Answers one host name with addresses that were checked before, and no other name at all."""

    def __init__(self, host: str, addresses: list[str]):
        self._host, self._addresses = host.rstrip("."), addresses

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        if host.lower().rstrip(".") != self._host:
            raise OSError(f"{host} was not checked")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to release."""


class GuardedFetcher:
    """Fetches a URL into a file, within a size and one time limit over all hops.

    `resolve` and `ssl_context` are for tests and private certificate authorities.
    """

    def __init__(
        self,
        timeout_s: float = 120,
        exempt: Collection[str] = (),
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
    ):
        self.timeout_s, self._exempt, self._resolve = timeout_s, exempt, resolve
        self._ssl: ssl.SSLContext | bool = ssl_context or True

    async def fetch(self, url: str, dest: Path, max_bytes: int) -> int:
        """Write the body to `dest`, whole or not at all; returns its bytes.

        Raises JobError: address_refused, fetch_failed, fetch_timeout, too_large.
        """
        part = dest.with_name(dest.name + ".part")
        target = parse_url(url)
        try:
            async with asyncio.timeout(self.timeout_s):
                size = await self._follow(target, part, max_bytes)
            part.replace(dest)
            return size
        except TimeoutError:
            raise JobError("fetch_timeout", detail=f"{target.host} took over {self.timeout_s:g} seconds.") from None
        except aiohttp.ClientError as error:
            raise JobError("fetch_failed", detail=_describe(error, target.host)) from None
        finally:
            part.unlink(missing_ok=True)

    async def _follow(self, target: Target, part: Path, max_bytes: int) -> int:
        """Hop from redirect to redirect until a body comes."""
        for _ in range(MAX_REDIRECTS + 1):
            found = await self._hop(target, part, max_bytes)
            if isinstance(found, int):
                return found
            if target.scheme == "https" and found.scheme == "http":
                raise JobError("address_refused", detail=f"{target.host} redirects from https to plain http.")
            target = found
        raise JobError("fetch_failed", detail=f"The URL redirects more than {MAX_REDIRECTS} times.")

    async def _hop(self, target: Target, part: Path, max_bytes: int) -> Target | int:
        """One request to one checked place: the next target, or the bytes written."""
        resolved = await self._resolve(target.host, target.port)
        pinned = PinnedResolver(target.host, check_addresses(target.host, target.port, resolved, self._exempt))
        connector = aiohttp.TCPConnector(resolver=pinned, use_dns_cache=False, force_close=True, ssl=self._ssl)
        # A session for one request: no cookie outlives a hop. The one time limit is fetch()'s, over all hops.
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.get(
                target.url,
                allow_redirects=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "comfy-motion"},
            ) as response,
        ):
            if response.status in _REDIRECTS and "Location" in response.headers:
                return _redirect(target, response.headers["Location"])
            return await _save(response, target.host, part, max_bytes)


def _redirect(target: Target, location: str) -> Target:
    """Where a Location header leads, relative ones joined. Raises as parse_url does."""
    try:
        return parse_url(str(target.url.join(yarl.URL(location))))
    except ValueError:
        raise JobError("fetch_failed", detail=f"{target.host} redirects to something that is no URL.") from None


async def _save(response: aiohttp.ClientResponse, host: str, part: Path, max_bytes: int) -> int:
    """Stream a good answer's body to a file; stops as soon as it is, or says it is, too large."""
    if response.status != 200:
        hint = "The link may have expired or need a login." if response.status in (401, 403, 404, 410) else None
        raise JobError("fetch_failed", detail=f"{host} answered HTTP {response.status}.", hint=hint)
    # Not asked for, and a small body that unpacks to terabytes is an old trick.
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise JobError("fetch_failed", detail=f"{host} sends the file compressed, though it was asked not to.")
    limit = f"at most {max_bytes / 2**20:g} MiB are accepted"
    said = response.content_length or 0
    if said > max_bytes:
        raise JobError("too_large", detail=f"It has {said / 2**20:.1f} MiB; {limit}.")
    size = 0
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise JobError("too_large", detail=f"It goes on after {max_bytes} bytes; {limit}.")
            file.write(chunk)
    return size


def _describe(error: aiohttp.ClientError, host: str) -> str:
    """What went wrong, without the URL: its query may be a key to somebody's file."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return f"The TLS certificate of {host} was not accepted."
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{host} could not be connected to ({error.os_error.strerror or 'no route'})."
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"{host} ended the file before it was complete."
    return f"The connection to {host} failed ({type(error).__name__})."
