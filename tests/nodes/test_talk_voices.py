"""talk/voices.py, loudness.py, resample.py and trim.py against independent computations."""

from fractions import Fraction
from math import ceil, cos, log10, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk.loudness import loudness, set_loudness
from custom_nodes.comfy_motion.talk.resample import resampled, resampled_length
from custom_nodes.comfy_motion.talk.trim import speech_range
from custom_nodes.comfy_motion.talk.voices import Voices, in_order

RATE = 16000
# BS.1770-4, tables 1 and 2: the two filters at 48 kHz, (b0, b1, b2), (a1, a2).
SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (-1.69065929318241, 0.73248077421585))
HIGH_PASS = ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621))


def tone(frequency: float, seconds: float, level: float = 1.0, rate: int = RATE) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


def voice(seed: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """Noise under a slow envelope, with pauses: loud and soft blocks for the gates."""
    count = round(seconds * rate)
    envelope = np.clip(np.sin(2 * np.pi * 0.7 * np.arange(count) / rate), 0.001, 1) ** 2
    return (0.2 * envelope * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def filtered(line: list[float], b, a) -> list[float]:
    """One biquad, sample after sample, direct form 1."""
    out, x1, x2, y1, y2 = [], 0.0, 0.0, 0.0, 0.0
    for x in line:
        y = b[0] * x + b[1] * x1 + b[2] * x2 - a[0] * y1 - a[1] * y2
        x1, x2, y1, y2 = x, x1, y, y1
        out.append(y)
    return out


def bs1770(speech: np.ndarray) -> float:
    """Integrated loudness of mono sound at 48 kHz, straight from the standard."""
    weighted = filtered(filtered([float(x) for x in speech], *SHELF), *HIGH_PASS)
    size, step = 19200, 4800
    powers = [sum(y * y for y in weighted[at : at + size]) / size for at in range(0, len(weighted) - size + 1, step)]
    powers = [power for power in powers if power > 0 and -0.691 + 10 * log10(power) > -70]
    if not powers:
        return float("-inf")
    gate = -0.691 + 10 * log10(sum(powers) / len(powers)) - 10
    powers = [power for power in powers if -0.691 + 10 * log10(power) > gate]
    return -0.691 + 10 * log10(sum(powers) / len(powers))


def test_the_level_that_the_standard_names():
    """BS.1770-4, annex 1: 0 dBFS of 997 Hz in one channel are -3.01 LKFS; 0.1 is what EBU Tech 3341 allows a meter."""
    for rate in (RATE, 48000):
        assert loudness(tone(997, 3, rate=rate), rate) == pytest.approx(-3.01, abs=0.1)


def test_loudness_is_the_standards_with_both_gates():
    speech = voice(1, 3, 48000)
    loud_half = np.concatenate([speech, 1e-2 * speech, np.zeros(48000, np.float32)])
    for line in (speech, loud_half):
        assert loudness(line, 48000) == pytest.approx(bs1770(line), abs=0.05)
    assert loudness(loud_half, 48000) > 10 * log10(float(np.square(loud_half).mean())) + 3  # the gates do something
    at_16k = np.concatenate(list(resampled([tone(300, 3, 0.1, 48000)[None]], 48000, RATE)), 1)[0]
    assert loudness(at_16k, RATE) == pytest.approx(bs1770(tone(300, 3, 0.1, 48000)), abs=0.15)


@pytest.mark.parametrize("level", [0.01, 0.1, 2.0])
def test_each_voice_is_brought_to_its_level_without_a_limiter(level: float):
    speech = voice(2, 5) * np.float32(level)
    result = set_loudness(speech, RATE, -23.0, "Voice 1")
    assert result.dtype == np.float32
    assert loudness(result, RATE) == pytest.approx(-23, abs=0.01)
    np.testing.assert_allclose(result / result.max(), speech / speech.max(), atol=1e-6)
    click = speech.copy()
    click[100] = 100 * np.abs(speech).max()
    loud = set_loudness(click, RATE, -5.0, "Voice 1")
    assert np.abs(loud).max() > 1
    assert set_loudness(speech, RATE, 0.0, "Voice 1") is speech


def test_silence_and_too_short_voices_are_refused_by_name():
    short = tone(200, 0.399)
    for speech, code, said in [
        (np.zeros(RATE, np.float32), "no_voice", "digital zero"),
        (tone(200, 1, 1e-4), "no_voice", "-80.0 dBFS"),
        (short, "voice_too_short", "0.40 s"),
    ]:
        with pytest.raises(MotionError) as caught:
            set_loudness(speech, RATE, 0.0, "Voice 2")
        assert caught.value.code == code
        assert "Voice 2" in str(caught.value)
        assert said in str(caught.value)
    assert len(set_loudness(tone(200, 0.4), RATE, -23.0, "Voice 2")) == 6400


@given(st.integers(1, 200_000), st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]))
def test_the_length_is_librosas(count: int, rate: int):
    assert resampled_length(count, rate, RATE) == ceil(Fraction(count * RATE, rate))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([8000, 11025, 44100, 48000]), st.integers(1, 9000), st.integers(1, 3000), st.integers(1, 2))
def test_resampling_does_not_depend_on_the_pieces(rate: int, count: int, size: int, channels: int):
    sound = np.random.default_rng(count).standard_normal((channels, count)).astype(np.float32)
    whole = np.concatenate(list(resampled([sound], rate, RATE)), 1)
    assert whole.shape == (channels, resampled_length(count, rate, RATE))
    pieces = [sound[:, at : at + size] for at in range(0, count, size)]
    np.testing.assert_array_equal(np.concatenate(list(resampled(iter(pieces), rate, RATE)), 1), whole)


@pytest.mark.parametrize("rate", [44100, 48000, 11025])
def test_resampling_keeps_time_level_and_what_is_heard(rate: int):
    """A chirp of known phase, computed at the new rate: a shift of a tenth of a sample would be seen."""
    times = np.arange(3 * rate) / rate
    out = np.concatenate(list(resampled([np.sin(2 * pi * (200 * times + 300 * times**2))[None]], rate, RATE)), 1)[0]
    times = np.arange(len(out)) / RATE
    wanted = np.sin(2 * pi * (200 * times + 300 * times**2))
    assert np.abs(out - wanted)[200:-200].max() < 1e-4
    above = np.sin(2 * pi * 9000 * np.arange(rate) / rate)[None]  # past what 16 kHz holds: it must not fold back
    if rate > 18000:
        assert np.abs(np.concatenate(list(resampled([above], rate, RATE)), 1))[0, 400:-400].max() < 1e-3


voices = st.lists(st.integers(1, 5000), min_size=1, max_size=2).map(
    lambda lengths: [np.arange(1, n + 1, dtype=np.float32) * (-1) ** i for i, n in enumerate(lengths)]
)


@given(voices, st.sampled_from(["one_after_another", "together"]))
def test_order_keeps_each_voice_whole_and_apart(speech, order: str):
    placed, begins = in_order(speech, order)
    total = sum(map(len, speech)) if order == "one_after_another" else max(map(len, speech))
    assert {line.shape for line in placed} == {(total,)}
    assert all(line.dtype == np.float32 for line in placed)
    for line, voice, begin in zip(placed, speech, begins, strict=True):
        np.testing.assert_array_equal(line[begin : begin + len(voice)], voice)
        assert np.count_nonzero(line) == len(voice)
    if order == "together":
        assert set(begins) == {0}
    else:
        assert begins == (0, len(speech[0]))[: len(speech)]
        assert not np.any(np.prod(placed, axis=0)) or len(placed) == 1
    result = Voices(placed)
    assert result.num_voices == len(speech)
    assert result.seconds == Fraction(total, 16000)
    assert 0 <= result.seconds - Fraction(result.num_frames, 25) < Fraction(1, 25)


def test_frames_are_counted_in_integers():
    """int(samples / 16000 * 25) as published, but where binary fractions lose a whole frame."""
    assert [Voices((np.zeros(n, np.float32),)).num_frames for n in (639, 640, 18559, 18560)] == [0, 1, 28, 29]
    assert int(18560 / 16000 * 25) == 28
    with pytest.raises(ValueError, match="one length"):
        Voices((np.zeros(3, np.float32), np.zeros(4, np.float32)))
    with pytest.raises(MotionError, match="invalid_value"):
        in_order([np.zeros(3, np.float32)], "add")


def test_trimming_cuts_what_is_silent_and_keeps_a_margin():
    speech = np.concatenate([tone(50, 1, 1e-4), tone(300, 1, 0.3), np.zeros(8000, np.float32), tone(300, 1, 0.005)])
    speech = np.concatenate([speech, tone(50, 2, 1e-4)])
    first, end = speech_range(speech, RATE)
    # A pause and a soft word (-35 dB) stay; 0.1 s before and after, in blocks of 0.02 s.
    assert first == pytest.approx(0.9 * RATE, abs=320)
    assert end == pytest.approx(3.6 * RATE, abs=320)
    assert speech_range(tone(300, 1), RATE) == (0, RATE)
    assert speech_range(np.zeros(999, np.float32), RATE) == (0, 999)


def test_the_independent_reference_is_right_itself():
    assert bs1770(np.sin(2 * pi * 997 * np.arange(48000) / 48000)) == pytest.approx(-3.01, abs=0.02)
    assert abs(bs1770(np.array([0.1 * cos(2 * pi * 20 * t / 48000) for t in range(48000)])) - -23) > 10
