"""worker/base64_input.py: a picture inside the request, by the same checks as one that is fetched."""

import base64
import hashlib
import io
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from worker.base64_input import write_base64
from worker.errors import JobError
from worker.guard import GuardedFetcher
from worker.media import Inputs, Source, fetch_image

from .small_media import code_of


@pytest.fixture(scope="module")
def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (80, 60), "red").save(made, "PNG")
    return made.getvalue()


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def fetched(text, tmp_path, **limits):
    inputs = replace(Inputs(None, GuardedFetcher(), 10, 100_000, 100_000, 100_000, 60), **limits)
    return fetch_image(Source("image_base64", text, "base64"), tmp_path / "in" / "picture", inputs, 32)


async def refused(text, tmp_path, **limits):
    with pytest.raises(JobError) as caught:
        await fetched(text, tmp_path, **limits)
    assert not (tmp_path / "in").exists() or list((tmp_path / "in").iterdir()) == []
    assert caught.value.field == "image_base64"
    return caught.value


@pytest.mark.parametrize(
    "written",
    [
        "{}",
        "data:image/png;base64,{}",
        "data:image/jpeg;base64,{}",
        "DATA:image/png;name=a.png;BASE64,{}",
        "data:;base64,{}",
        " \n\t{}\r\n ",
        "\ndata:image/png;base64,\n{}\n",
    ],
)
async def test_a_picture_with_or_without_its_prefix(picture, tmp_path, written):
    info = await fetched(written.format(text_of(picture)), tmp_path)
    assert (info.width, info.height, info.format) == (80, 60, "PNG")
    assert info.sha256 == hashlib.sha256(picture).hexdigest()
    assert (tmp_path / "in" / "picture").read_bytes() == picture


async def test_line_breaks_of_mail_and_shells_are_no_matter(picture, tmp_path):
    for width, end in ((76, "\r\n"), (1, "\n")):
        text = end.join(textwrap.wrap(text_of(picture), width)) + end
        assert (await fetched(text, tmp_path)).width == 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("aGVsbG8=", "a text file"),
        ("PGh0bWw+PGJvZHk+", "a web page"),
        ("aGVsbG8", "cut off"),
        ("aGVsb", "cut off"),
        ("aGVs!G8=", "characters"),
        ("aGVs-_8=", "characters"),
        ("aGVsbG8=aGVsbG8=", "cut off"),
        ("grüße===", "characters"),
        ("https://host/a.png", "characters"),
        ("data:image/png,aGVsbG8=", "characters"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "a text file"),
    ],
)
async def test_what_is_no_picture_is_refused(tmp_path, text, words):
    error = await refused(text, tmp_path)
    assert error.code == "not_an_image"
    assert words in error.message


async def test_the_message_does_not_repeat_the_picture(tmp_path):
    secret = "c2VjcmV0IHBpY3R1cmU!"
    error = await refused(secret, tmp_path)
    assert secret[:8] not in str(error.as_dict())
    assert secret not in repr(Source("image_base64", secret, "base64"))


async def test_its_size_is_known_before_it_is_decoded(picture, tmp_path, monkeypatch):
    exact = {"max_image_bytes": len(picture)}
    assert (await fetched("data:image/png;base64,\n" + text_of(picture), tmp_path, **exact)).width == 80
    (tmp_path / "in" / "picture").unlink()

    def never(*_, **__):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(base64, "b64decode", never)
    for text in (text_of(picture + b"\0" * 3), "A" * 10_000_000, "A" * 10_000_000 + "!"):
        error = await refused(text, tmp_path, **exact)
        assert error.code == "too_large"
        assert "MiB are accepted" in error.message


@given(st.binary(min_size=1, max_size=200), st.integers(1, 80))
def test_any_bytes_come_back_as_they_were(tmp_path_factory, data, width):
    path = tmp_path_factory.getbasetemp() / "bytes"
    write_base64("\n".join(textwrap.wrap(text_of(data), width)), path, len(data))
    assert path.read_bytes() == data
    assert code_of(lambda: write_base64(text_of(data + b"more"), path, len(data))).code == "too_large"
