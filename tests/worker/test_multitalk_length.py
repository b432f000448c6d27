"""operations/multitalk.py and timeline.py: how long the voices are, in frames and windows, and what does not fit.

Held to the nodes that decide it.
"""

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.clips.windows import plan_windows
from custom_nodes.comfy_motion.talk.checks import check_windows
from custom_nodes.comfy_motion.talk.sounds import load_sound
from custom_nodes.comfy_motion.talk.voices import prepare_voices
from worker.errors import JobError
from worker.media import SoundInfo
from worker.operations.multitalk import MultiTalk, spoken
from worker.operations.multitalk_request import MultiTalkRequest
from worker.sounds import probe_sound
from worker.timeline import frames_spoken, voice_samples

from .asking import Asked, picture, settings
from .small_sounds import CODECS, tone, write_sound

OPERATION = MultiTalk()
GOOD = {"reference_image": "https://x/a.png", "audio_1": "https://x/1.wav", "prompt": "They talk."}
ASKED = Asked(OPERATION, GOOD)
TWO = {"audio_2": "https://x/2.wav"}


def sound(seconds: float, rate: int = 16000) -> SoundInfo:
    return SoundInfo(round(seconds * rate), rate, 1, seconds, -20.0)


ONE_VOICE = {"image": picture(), "audio_1": sound(10)}
TWO_VOICES = {**ONE_VOICE, "audio_2": sound(5.5, 44100)}


@given(st.integers(1, 10**7), st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]))
def test_frames_are_the_published_rule(num_samples, rate):
    samples = -(-num_samples * 16000 // rate)
    assert voice_samples(num_samples, rate) == samples
    assert frames_spoken(samples) == int(samples / 16000 * 25)


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_the_node_counts_the_same_samples(tmp_path, suffix, rate):
    rate = 48000 if CODECS[suffix] == "libopus" else rate
    path = write_sound(tmp_path / f"a.{suffix}", tone(rate + 123, rate), rate)
    info = probe_sound(path)
    voices, _ = prepare_voices([load_sound(path)], "together")
    assert voice_samples(info.num_samples, info.rate) == len(voices.speech[0])
    assert spoken(ASKED.parse(num_frames=5), {**ONE_VOICE, "audio_1": info}).num_frames == voices.num_frames


@pytest.mark.parametrize("hole", [0, 0.015, 0.5])
def test_a_hole_in_the_track_is_silence_to_both(tmp_path, hole):
    path, voice = tmp_path / "a.mkv", tone(48000, 48000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000, layout="mono")
        for start in range(0, 48000, 1000):
            frame = av.AudioFrame.from_ndarray(voice[None, start : start + 1000], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
            frame.pts = start + round(hole * 48000) * (start > 20000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    info = probe_sound(path)
    # Matroska's times are in milliseconds: 48 samples.
    assert info.num_samples == pytest.approx(48000 + (hole * 48000 if hole > 0.02 else 0), abs=48)
    assert round(load_sound(path).duration * 48000) == info.num_samples


@given(st.integers(10, 4499), st.integers(5, 201))
def test_as_many_windows_are_told_as_the_loop_makes(frames, num_frames):
    infos = {**ONE_VOICE, "audio_1": SoundInfo(640 * frames + 639, 16000, 1, frames / 25, -20.0)}
    request = ASKED.parse(num_frames=num_frames)
    if frames < request.window_frames:
        with pytest.raises(JobError, match="voice_too_short"):
            spoken(request, infos)
        return
    planned = plan_windows(frames, request.window_frames, request.motion_frames, "never")
    assert (spoken(request, infos).num_frames, spoken(request, infos).windows) == (frames, len(planned))
    check_windows(frames, request.window_frames, request.motion_frames)


@pytest.mark.parametrize("fps", [1, 7, 8, 12.5, 23.976, 24, 25, 29.97, 30, 60])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_the_video_is_as_long_as_the_sound(fps, rate):
    infos = {**ONE_VOICE, "audio_1": SoundInfo(61 * rate + 17, rate, 2, 61.0, -20.0)}
    expected = OPERATION.expected(ASKED.parse(fps=fps), infos)
    assert abs(expected.num_frames / expected.fps - (61 + 17 / rate)) < 0.5 / expected.fps + 1 / 25
    assert expected.has_audio


def test_frames_and_windows_of_two_voices():
    def said(**changes):
        made = spoken(ASKED.parse(**TWO, **changes), TWO_VOICES)
        return made.num_frames, made.windows

    assert said() == (387, 5)
    assert said(audio_order="together") == (250, 3)
    assert said(audio_order="together", num_frames=201) == (250, 2)
    assert said(num_frames=201) == (387, 2)
    whole = {**ONE_VOICE, "audio_1": SoundInfo(97 * 640 * 3 - 1, 48000, 1, 3.9, -20.0)}
    assert spoken(ASKED.parse(), whole) == spoken(ASKED.parse(num_frames=97), whole)
    assert spoken(ASKED.parse(), whole).num_frames == 97, "a part of a sample is a whole one"


SHORT = [
    ({"audio_1": sound(3.0)}, {}, "audio_1", ["3.00 s, 75 frames", "97 frames has 3.88 s"], "num_frames to 75 or less"),
    ({"audio_1": sound(1.9), "audio_2": sound(1.9)}, TWO, "audio_1", ["one after another, have 3.80 s"], "95 or less"),
    ({"audio_1": sound(3.8), "audio_2": sound(3.8)}, {**TWO, "audio_order": "together"}, "audio_1", ["3.80"], "95 or"),
    ({"audio_1": sound(0.39)}, {"num_frames": 5}, "audio_1", ["0.39 s; at least 0.4 s"], "longer recording"),
    ({"audio_1": sound(9), "audio_2": sound(0.1)}, TWO, "audio_2", ["0.10 s"], "longer recording"),
]


@pytest.mark.parametrize(("sounds", "changes", "field", "words", "hint"), SHORT)
def test_a_voice_shorter_than_a_window_is_refused_with_what_would_do(sounds, changes, field, words, hint):
    with pytest.raises(JobError) as caught:
        OPERATION.expected(ASKED.parse(**changes), {"image": picture(), **sounds})
    assert (caught.value.code, caught.value.field) == ("voice_too_short", field)
    assert all(word in caught.value.message for word in words)
    assert hint in caught.value.hint


def test_the_number_of_frames_that_is_named_would_do():
    infos = {**ONE_VOICE, "audio_1": sound(3.0)}
    assert OPERATION.expected(ASKED.parse(num_frames=75), infos).num_frames == 24
    joined = {"image": picture(), "audio_1": sound(2.0), "audio_2": sound(2.0)}
    assert OPERATION.expected(ASKED.parse(**TWO), joined).num_frames == 32


def test_the_limit_is_of_the_joined_length():
    infos = {"image": picture(), "audio_1": sound(100), "audio_2": sound(80.5)}
    with pytest.raises(JobError) as caught:
        OPERATION.expected(ASKED.parse(**TWO), infos)
    assert caught.value.code == "audio_too_long"
    assert "180.50 s; the limit is 180 s" in caught.value.message
    assert OPERATION.expected(ASKED.parse(**TWO, audio_order="together"), infos).num_frames == 800
    more = OPERATION.parse({**GOOD, **TWO}, settings(max_audio_seconds=181))
    assert OPERATION.expected(more, infos).num_frames == 1444
    unknown = MultiTalkRequest.model_validate({**GOOD, **TWO})
    assert OPERATION.expected(unknown, infos).num_frames == 1444, "whoever does not know the limit refuses nothing"
