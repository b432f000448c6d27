"""A minute at every rate from 7 to 30: what is seen and what is heard stay together to the end."""

from dataclasses import replace
from fractions import Fraction
from math import ceil

import numpy as np
import pytest

from custom_nodes.comfy_motion.talk.mix import result_sound
from custom_nodes.comfy_motion.talk.voices import prepare_voices
from custom_nodes.comfy_motion.video import soundtrack
from custom_nodes.comfy_motion.video.retime import RetimedFrames
from custom_nodes.comfy_motion.video.sound import find_sound
from custom_nodes.comfy_motion.video.timeline import exact_rate
from custom_nodes.comfy_motion.video.writer import write_mp4

from .click_track import FLASHES, LENGTH, Flashes, clicks, clicks_in, heard_clicks, seen_flashes, write_aac, write_wav

RATES = range(7, 31)
EXACT = 0.001
"""Seconds up to which a click is where it should be; a frame at 30 a second is 0.033."""
SOURCES = {
    "44100.wav": write_wav,
    "48000.wav": write_wav,
    "16000.wav": write_wav,
    "44100.m4a": write_aac,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    rates = {name: int(name.split(".")[0]) for name in SOURCES}
    return {name: write(folder / name, clicks(rates[name]), rates[name]) for name, write in SOURCES.items()}


def sound_of(source, length: int = LENGTH):
    sound = find_sound(source, Fraction(0), Fraction(length))
    assert sound is not None
    return sound


def offsets(sound, target, fps: float) -> np.ndarray:
    """Seconds by which each flash of the finished MP4 follows its click. What CMRetime and CMSaveVideo do."""
    written = write_mp4(target, RetimedFrames(Flashes(), exact_rate(fps)), sound)
    assert written.num_frames == LENGTH * fps
    assert written.sound == ("copied" if sound.path.endswith(".m4a") else "encoded")
    seen, heard = seen_flashes(target), heard_clicks(target)
    assert len(seen) == len(heard) == len(FLASHES)
    return seen - heard


def check(offset: np.ndarray, fps: int) -> None:
    """Under one frame everywhere; and what there is comes from whole frames alone: none of it is drift or delay."""
    assert abs(offset[-1]) < 1 / fps, f"{offset[-1] * fps:+.2f} frames apart at the end"
    assert (abs(offset) < 1 / fps).all(), f"{abs(offset).max() * fps:.2f} frames apart"
    # The first frame that can show a flash; it is never shown before its click.
    due = np.array([float(ceil(at * fps) / Fraction(fps) - at) for at in FLASHES])
    wrong = offset - due
    assert abs(wrong).max() < EXACT, f"{wrong[0]:+.4f} s at the start, {wrong[len(wrong) // 2]:+.4f}, {wrong[-1]:+.4f}"


@pytest.mark.parametrize("name", ["44100.wav", "48000.wav", "16000.wav"])
@pytest.mark.parametrize("fps", RATES)
def test_flashes_and_clicks_are_less_than_a_frame_apart(sources, tmp_path, name, fps):
    check(offsets(sound_of(sources[name]), tmp_path / "out.mp4", fps), fps)


@pytest.mark.parametrize("fps", [7, 8, 24, 25, 30])
def test_so_they_are_where_the_sources_packets_are_copied(sources, tmp_path, fps):
    check(offsets(sound_of(sources["44100.m4a"]), tmp_path / "out.mp4", fps), fps)


@pytest.mark.parametrize("names", [["44100.wav"], ["48000.wav"], ["44100.m4a"], ["44100.m4a", "48000.wav"]])
def test_the_model_hears_each_click_when_it_is_heard(sources, tmp_path, names):
    """Voices as "Prepare Voices" makes them, to the model and into the MP4. Where there are two, each has a half."""
    sounds = [sound_of(sources[name], LENGTH // len(names)) for name in names]
    if len(sounds) > 1:  # the second one's second half
        sounds[1] = replace(sounds[1], start=sounds[1].end, end=sounds[1].end * 2)
    voices, placed = prepare_voices(sounds, "one_after_another")
    assert voices.num_frames == Flashes.num_frames
    heard = np.concatenate([clicks_in(speech, voices.sample_rate) for speech in voices.speech])
    assert abs(heard - np.array([float(at) for at in FLASHES])).max() < EXACT
    check(offsets(result_sound(placed, len(voices.speech[0])), tmp_path / "out.mp4", 8), 8)


def every_nth(frames: RetimedFrames, number: int) -> int:
    return min(number * round(frames.frames.fps / frames.fps), frames.frames.num_frames - 1)


def by_count(frames: RetimedFrames, number: int) -> int:
    """The last frame for the last: so are frames spread by numpy.linspace."""
    return round(number * (frames.frames.num_frames - 1) / (frames.num_frames - 1))


def one_late(frames: RetimedFrames, number: int, real=RetimedFrames.source_of) -> int:
    return real(frames, max(number - 1, 0))


@pytest.mark.parametrize("mistake", [every_nth, by_count, one_late])
@pytest.mark.parametrize("fps", [8, 24])
def test_frames_taken_wrongly_are_seen(sources, tmp_path, monkeypatch, mistake, fps):
    monkeypatch.setattr(RetimedFrames, "source_of", mistake)
    with pytest.raises(AssertionError):
        check(offsets(sound_of(sources["16000.wav"]), tmp_path / "out.mp4", fps), fps)


def at_another_rate(source, stream, sound, rate, layout, real=soundtrack.samples):
    """Television's 0.1 %: 60 ms in a minute."""
    return real(source, stream, sound, rate * 1000 // 1001, layout)


def with_the_lead_in(source, stream, sound, rate, layout, real=soundtrack.samples):
    """The 1024 samples that AAC puts in front, heard: 23 ms at 44.1 kHz."""
    yield np.zeros((1, 1024), np.float32)
    yield from real(source, stream, sound, rate, layout)


@pytest.mark.parametrize("mistake", [at_another_rate, with_the_lead_in])
@pytest.mark.parametrize("fps", [8, 24])
def test_sound_written_wrongly_is_heard(sources, tmp_path, monkeypatch, mistake, fps):
    monkeypatch.setattr(soundtrack, "samples", mistake)
    with pytest.raises(AssertionError):
        check(offsets(sound_of(sources["44100.wav"]), tmp_path / "out.mp4", fps), fps)
