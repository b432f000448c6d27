"""The files of an answer: from base64 and from links, whole or not at all, and where --output wants them."""

import base64
import contextlib
import io
import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.outcome import RunFailed
from cli.report import summary
from cli.results import Names, download, files_of, save, save_overlay

MP4, PNG = b"\0\0\0\x18ftypisom" + b"v" * 100, b"\x89PNG\r\n\x1a\n" + b"p" * 50


BODIES = {"/video": MP4, "/frame": PNG, "/short": MP4}


def answer(connection: socket.socket) -> None:
    path = connection.recv(65536).split()[1].split(b"?")[0].decode()
    body = BODIES.get(path, b"")
    length = len(body) + (7 if path == "/short" else 0)
    status = "200 OK" if body else "403 Forbidden"
    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body)


@pytest.fixture(scope="module")
def web():
    """{/video: MP4, /frame: PNG, /short: a connection that ends early}, as the base of its addresses.

    Not http.server: once Swift has been imported here, its sockets wait for eventlet.
    """

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = listening.accept()
                with connection:
                    answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def mask_png(mask: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
    return out.getvalue()


def test_base64_becomes_files_and_paths_in_its_place(tmp_path):
    answer = {"success": True, "video_base64": encoded(MP4), "last_frame_base64": encoded(PNG), "seed": 5}
    saved = save(answer, Names(tmp_path / "clip.mp4"))
    assert (tmp_path / "clip.mp4").read_bytes() == MP4
    assert (tmp_path / "clip_last_frame.png").read_bytes() == PNG
    assert saved == {
        "success": True,
        "video_path": str(tmp_path / "clip.mp4"),
        "last_frame_path": str(tmp_path / "clip_last_frame.png"),
        "seed": 5,
    }
    assert files_of(saved) == [saved["video_path"], saved["last_frame_path"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "clip_last_frame.png"]


@pytest.mark.parametrize("field", ["video_url", "output_url", "presigned_url"])
def test_links_are_fetched(web, tmp_path, field):
    answer = {field: f"{web}/video?X-Amz-Signature=secret", "last_frame_url": f"{web}/frame"}
    saved = save(answer, Names(tmp_path / "a.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == MP4
    assert (tmp_path / "a_last_frame.png").read_bytes() == PNG
    assert saved[field] == answer[field]
    assert saved["video_path"] == str(tmp_path / "a.mp4")


def test_base64_comes_before_the_link(tmp_path):
    saved = save({"video_base64": encoded(MP4), "video_url": "http://127.0.0.1:9/x"}, Names(tmp_path / "a.mp4"))
    assert saved == {"video_path": str(tmp_path / "a.mp4"), "video_url": "http://127.0.0.1:9/x"}


def test_an_answer_without_files_says_where_they_are(tmp_path):
    answer = {"minio_key": "avatar/x.mp4", "seed": 3}
    saved = save(answer, Names(tmp_path / "a.mp4"))
    assert saved == answer
    assert list(tmp_path.iterdir()) == []
    assert summary(saved).splitlines() == ["in the store: avatar/x.mp4", "seed 3"]


@pytest.mark.parametrize(("path", "words"), [("/short", "only 112 of 119 bytes"), ("/gone", "HTTP 403")])
def test_half_a_file_is_no_file(web, tmp_path, path, words):
    (tmp_path / "a.mp4").write_bytes(b"older")
    with pytest.raises(RunFailed, match=words) as caught:
        download(f"{web}{path}?X-Amz-Signature=secret", tmp_path / "a.mp4")
    assert "secret" not in str(caught.value)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.mp4", b"older")]


def test_what_is_no_base64_is_told(tmp_path):
    with pytest.raises(RunFailed, match="video_base64 is no base64"):
        save({"video_base64": "%%%"}, Names(tmp_path / "a.mp4"))


def test_masks_are_numbered_and_drawn_over_the_picture(web, tmp_path):
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    # Lying on its side, as cameras write it: 60x80 pixels that are to be turned.
    sideways = Image.new("RGB", (60, 80), (0, 0, 0))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "photo.jpg", exif=exif)
    masks = [{"png_base64": encoded(mask_png(mask)), "score": 0.9, "bbox": [20, 10, 60, 50]}]
    masks.append({"png_base64": encoded(mask_png(~mask)), "score": 0.5, "bbox": None})
    names = Names(tmp_path / "out" / "x_masks.png")
    names.make_folder()
    saved = save({"masks": masks, "mask_count": 2}, names)
    assert [one["path"] for one in saved["masks"]] == [str(tmp_path / "out" / f"x_mask_{n}.png") for n in (1, 2)]
    assert all(one.keys() == {"path", "score", "bbox"} for one in saved["masks"])
    shown = save_overlay(saved, tmp_path / "photo.jpg", {"bboxes": [[18, 8, 62, 52]]}, names)
    assert files_of(shown)[0] == shown["overlay_path"] == str(names.main)
    with Image.open(names.main) as picture:
        assert picture.size == (80, 60)
    assert "mask 2: score 0.50" in summary(shown)
    json.dumps(shown)


def test_a_picture_of_another_size_is_not_drawn_over(tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "p.png")
    (tmp_path / "m.png").write_bytes(mask_png(np.ones((20, 20), bool)))
    saved = {"masks": [{"path": str(tmp_path / "m.png"), "score": 1.0, "bbox": None}]}
    with pytest.raises(RunFailed, match="a mask is 20x20, the picture 10x10"):
        save_overlay(saved, tmp_path / "p.png", {}, Names(tmp_path / "o.png"))


@pytest.mark.parametrize(
    ("output", "ending", "main"),
    [
        (None, ".mp4", "i2v_7.mp4"),
        ("clip", ".mp4", "clip.mp4"),
        ("a/clip.MP4", ".mp4", "a/clip.MP4"),
        ("new/", ".mp4", "new/i2v_7.mp4"),
        ("there", ".mp4", "there/i2v_7.mp4"),
        (None, "_masks.png", "i2v_7_masks.png"),
        ("new", "_masks.png", "new/i2v_7_masks.png"),
        ("a/b.png", "_masks.png", "a/b.png"),
    ],
)
def test_where_output_leads(tmp_path, monkeypatch, output, ending, main):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    names = Names.of(output, "i2v_7", ending)
    assert names.main == Path(main)
    assert names.beside("mask_1") == Path(main).with_name(f"{Path(main).stem.removesuffix('_masks')}_mask_1.png")
    names.make_folder()
    assert list(names.main.parent.glob(".*")) == []


def test_an_output_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(RunFailed, match=r"--output clip\.avi: the result is a file \.mp4"):
        Names.of("clip.avi", "x", ".mp4")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="cannot be written to"):
        Names.of(f"{tmp_path}/file/a.mp4", "x", ".mp4").make_folder()
