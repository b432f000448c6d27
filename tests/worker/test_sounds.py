"""worker/sounds.py and fetch_audio: voices in whatever file, counted to the sample, and what is no voice."""

import base64
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from worker import base64_input
from worker.errors import JobError
from worker.filetype import sniff
from worker.guard import GuardedFetcher
from worker.media import Inputs, Source, fetch_audio
from worker.sounds import probe_sound

from .small_media import code_of, write_video
from .small_sounds import CODECS, tone, write_sound

WITH_PICTURE = ("mp4", "mov", "mkv", "webm", "avi", "flv", "ts")
EXACT = ("wav", "flac", "mp3", "ogg", "aiff", "au", "caf", "mkv", "webm", "avi")
"""Containers that say, to the sample, where their sound ends."""


@pytest.mark.parametrize("suffix", CODECS)
def test_any_container_gives_its_samples(tmp_path, suffix):
    rate = 48000 if CODECS[suffix] == "libopus" else 44100
    path = write_sound(tmp_path / f"a.{suffix}", tone(2 * rate + 123, rate), rate, picture=suffix in WITH_PICTURE)
    info = probe_sound(path.rename(tmp_path / "voice"))
    more = info.num_samples - (2 * rate + 123)
    assert more == 0 if suffix in EXACT else 0 <= more < 2048, "AAC ends with a whole frame, and may begin with one"
    assert (info.rate, info.channels, info.is_silent) == (rate, 1, False)
    assert info.duration == pytest.approx(info.num_samples / rate)
    assert info.loudest_dbfs == pytest.approx(-16.5, abs=0.6)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_full_scale_is_the_same_in_every_sample_format(tmp_path, codec, rate):
    info = probe_sound(write_sound(tmp_path / "a.wav", np.full(rate, 0.5, np.float32), rate, codec))
    assert info.loudest_dbfs == pytest.approx(20 * np.log10(0.5), abs=0.1)
    assert info.num_samples == rate


def test_the_voice_is_the_mean_of_the_channels(tmp_path):
    voice = tone(44100, 44100)
    both = probe_sound(write_sound(tmp_path / "a.wav", np.stack([voice, voice]), 44100))
    left = probe_sound(write_sound(tmp_path / "b.wav", np.stack([voice, 0 * voice]), 44100))
    assert both.channels == 2
    assert both.loudest_dbfs - left.loudest_dbfs == pytest.approx(20 * np.log10(2), abs=0.05)
    opposite = write_sound(tmp_path / "c.flac", np.stack([voice, -voice]), 44100)
    assert code_of(lambda: probe_sound(opposite)).code == "no_voice"
    six = probe_sound(write_sound(tmp_path / "d.wav", np.stack([voice] * 6), 44100))
    assert (six.channels, six.num_samples) == (6, 44100)


def test_silence_is_no_voice_and_a_whisper_is(tmp_path):
    noise = np.random.default_rng(0).normal(size=48000).astype(np.float32)
    error = code_of(lambda: probe_sound(write_sound(tmp_path / "a.wav", noise * 0.0001, 48000)))
    assert error.code == "no_voice"
    assert "All its 1.00 s are silent: its loudest 0.4 s have -80 dBFS" in error.message
    assert "-inf" in code_of(lambda: probe_sound(write_sound(tmp_path / "b.wav", noise * 0, 48000))).message
    once = np.concatenate([noise * 0, noise * 0.002, noise * 0])
    assert probe_sound(write_sound(tmp_path / "c.wav", once, 48000)).loudest_dbfs == pytest.approx(-54, abs=1)
    assert probe_sound(write_sound(tmp_path / "d.wav", noise[:480] * 0.1, 48000)).num_samples == 480


def test_a_video_without_sound_and_a_picture_are_told_apart(tmp_path):
    assert code_of(lambda: probe_sound(write_video(tmp_path / "a.mp4"))).code == "no_sound"
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    error = code_of(lambda: probe_sound(tmp_path / "a.png"))
    assert error.code == "sound_unreadable"
    assert "It is a PNG file" in error.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nvoice.ts\n#EXT-X-ENDLIST\n", "a text file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nvoice.ts\n#EXT-X-ENDLIST\n\0\0", "cannot be opened"),
        (b"ffconcat version 1.0\nfile 'voice.ts'\n", "a text file"),
        (b"ffconcat version 1.0\nfile 'voice.ts'\n#\0\xff\n", "cannot be opened"),
        (b"<html><body>Sign in</body></html>", "a web page"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n", "a text file"),
        (b"ID3\x04\0\0\0\0\0\0#EXTM3U\nvoice.ts\n", "cannot be opened"),
        (b"\xff\xfe#\0E\0X\0T\0", "cannot be opened"),
        (b"\0" * 5000, "cannot be opened"),
        (b"", "empty"),
    ],
)
def test_what_would_send_a_decoder_elsewhere_is_not_followed(tmp_path, content, words):
    write_sound(tmp_path / "voice.ts", tone(8000, 8000), 8000)
    (tmp_path / "a.m3u8").write_bytes(content)
    error = code_of(lambda: probe_sound(tmp_path / "a.m3u8"))
    assert error.code == "sound_unreadable"
    assert words in error.message


def test_a_damaged_file_is_told_with_its_second(tmp_path):
    voice = np.random.default_rng(0).normal(size=44100 * 4).astype(np.float32) * 0.1
    path = write_sound(tmp_path / "a.flac", voice, 44100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = code_of(lambda: probe_sound(path))
    assert error.code == "sound_unreadable"
    assert "cannot be decoded at 1.8" in error.message
    two = [write_sound(tmp_path / f"{rate}.aac", tone(rate, rate), rate).read_bytes() for rate in (44100, 22050)]
    (tmp_path / "b.aac").write_bytes(b"".join(two))
    assert "changes from 44100 to 22050 Hz" in code_of(lambda: probe_sound(tmp_path / "b.aac")).message
    broken = write_sound(tmp_path / "c.wav", np.full(8000, np.nan, np.float32), 8000, "pcm_f32le")
    assert "no numbers" in code_of(lambda: probe_sound(broken)).message


def test_a_sound_that_is_too_long_is_not_decoded_to_its_end(tmp_path):
    path = write_sound(tmp_path / "a.flac", tone(8000 * 30, 8000), 8000)
    assert probe_sound(path, 30).duration == 30
    error = code_of(lambda: probe_sound(path, 29.9))
    assert error.code == "audio_too_long"
    assert "It has 30.0 s; the limit is 29.9 s." in error.message
    assert "MAX_AUDIO_SECONDS" in error.hint


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RF64\xff\xff\xff\xffWAVEds64", "WAV"),
        (b"fLaC\0\0\0\x22", "FLAC"),
        (b"ID3\x04\0\0", "MP3"),
        (b"\xff\xfb\x90\x64", "MP3"),
        (b"\xff\xf3\x48\xc4", "MP3"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\xff\xfe#\0", "unknown"),
        (b"\xff\xfb\xf0\0", "unknown"),
        (b"#!AMR\n\x3c", "AMR"),
        (b"FORM\0\0\0\0AIFC", "AIFF"),
        (b"FLV\x01\x05", "FLV"),
        (b"G" + bytes(187) + b"G" + bytes(187) + b"G", "MPEG-TS"),
        (b"G" * 100, "text"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
    ],
)
def test_a_sound_is_known_by_its_first_bytes(head, kind):
    assert sniff(head) == kind


@pytest.fixture
async def files(tmp_path):
    """An HTTP server for the folder www; Inputs that may fetch from it, and nothing else."""
    www = tmp_path / "www"
    www.mkdir()
    app = web.Application()
    app.router.add_static("/", www)
    async with TestServer(app, host="127.0.0.1") as server:
        fetcher = GuardedFetcher(10, exempt=[f"127.0.0.1:{server.port}"])
        yield www, str(server.make_url("/")), Inputs(None, fetcher, 10, 1000, 1000, 100_000, 2)


async def refused(value: str, kind, inputs: Inputs, dest: Path) -> JobError:
    with pytest.raises(JobError) as caught:
        await fetch_audio(Source("audio_1", value, kind), dest, inputs)
    assert not dest.parent.exists() or list(dest.parent.iterdir()) == []
    assert caught.value.field == "audio_1"
    return caught.value


async def test_a_voice_comes_by_url_and_as_base64(files, tmp_path):
    www, base, inputs = files
    content = write_sound(www / "a.wav", tone(16000, 16000), 16000).read_bytes()
    text = base64.b64encode(content).decode()
    sources = [(base + "a.wav", "url"), (text, "base64"), (f"data:audio/wav;base64,\n{text}", "base64")]
    for value, kind in sources:
        info = await fetch_audio(Source("audio_1", value, kind), tmp_path / "in" / "voice", inputs)
        assert (info.num_samples, info.rate) == (16000, 16000)
        assert (tmp_path / "in" / "voice").read_bytes() == content


async def test_what_is_no_voice_leaves_nothing_behind(files, tmp_path, monkeypatch):
    www, base, inputs = files
    dest = tmp_path / "in" / "voice"
    write_video(www / "mute.mp4")
    assert (await refused(base + "mute.mp4", "url", inputs, dest)).code == "no_sound"
    write_sound(www / "long.flac", tone(8000 * 3, 8000), 8000)
    assert (await refused(base + "long.flac", "url", inputs, dest)).code == "audio_too_long"
    (www / "big.wav").write_bytes(b"RIFF" + bytes(100_000))
    assert (await refused(base + "big.wav", "url", inputs, dest)).code == "too_large"
    error = await refused("SGVsbG8!", "base64", inputs, dest)
    assert error.code == "sound_unreadable"
    assert "audio/wav" in error.hint
    assert "SGVsb" not in str(error.as_dict())
    monkeypatch.setattr(base64_input.base64, "b64decode", lambda *_, **__: pytest.fail("it was decoded"))
    assert (await refused("A" * 140_000, "base64", inputs, dest)).code == "too_large"
