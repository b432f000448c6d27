"""talk/sounds.py, mix.py and audio_input.py: real files in, the voices and the result's sound out."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk import mix
from custom_nodes.comfy_motion.talk.audio_input import audio_to_sound
from custom_nodes.comfy_motion.talk.loudness import loudness
from custom_nodes.comfy_motion.talk.mix import result_sound, write_wav
from custom_nodes.comfy_motion.talk.sounds import SoundFormat, format_of, load_sound, pieces
from custom_nodes.comfy_motion.talk.voices import prepare_voices, read_speech
from custom_nodes.comfy_motion.video.frames import TensorFrames
from custom_nodes.comfy_motion.video.sound import Sound
from custom_nodes.comfy_motion.video.writer import write_mp4

from .video_samples import numbered_video

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    for module in ("mix", "audio_input"):
        monkeypatch.setattr(f"custom_nodes.comfy_motion.talk.{module}.scratch_folder", lambda kind: folder)
    return folder


def chirp(rate: int, seconds: float, channels: int = 1, level: float = 0.3) -> np.ndarray:
    """Rising tones, each channel its own, float32 [channels, n]."""
    times = np.arange(round(rate * seconds)) / rate
    waves = [level * np.sin(2 * np.pi * (150 + 70 * i) * times * (1 + 0.3 * times)) for i in range(channels)]
    return np.stack(waves).astype(np.float32)


def encode(path: Path, sound: np.ndarray, codec: str, rate: int, layout: str, container: str | None = None) -> Path:
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        convert = av.AudioResampler(format=stream.format.name)
        size = stream.codec_context.frame_size or 1000
        for at in range(0, sound.shape[1], size):
            piece = np.ascontiguousarray(sound[:, at : at + size])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            for converted in convert.resample(frame):
                output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return path


def wav(path: Path, sound: np.ndarray, rate: int) -> Path:
    write_wav(path, [sound], rate, len(sound))
    return path


def all_of(sound: Sound) -> np.ndarray:
    return np.concatenate(list(pieces(sound)), 1)


EXACT = [
    ("a.wav", "pcm_s16le", 44100, "stereo", None),
    ("a24.wav", "pcm_s24le", 48000, "mono", None),
    ("surround.flac", "flac", 96000, "5.1", None),
    ("low.aiff", "pcm_s16be", 11025, "mono", None),
    ("a.mp3", "libmp3lame", 44100, "stereo", None),
    ("opus.webm", "libopus", 48000, "mono", None),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout", "container"), EXACT)
def test_every_kind_of_sound_is_read_to_the_sample(tmp_path, name, codec, rate, layout, container):
    made = chirp(rate, 1.3337, av.AudioLayout(layout).nb_channels)
    sound = load_sound(encode(tmp_path / name, made, codec, rate, layout, container))
    assert format_of(sound) == SoundFormat(rate, len(made))
    assert sound.duration == Fraction(made.shape[1], rate)
    got = all_of(sound)
    assert got.shape == made.shape
    assert np.abs(got - made)[:, rate // 10 : -rate // 10].max() < (0.05 if name in ("a.mp3", "opus.webm") else 1e-4)
    part = Sound(sound.path, sound.stream, sound.start + Fraction(1, 2), sound.start + 1)
    begin = round(Fraction(rate, 2))
    np.testing.assert_allclose(all_of(part), got[:, begin : begin + round(Fraction(rate, 2))], atol=1e-4)
    speech = read_speech(sound)
    assert len(speech) == -(-made.shape[1] * 16000 // rate)
    times = np.arange(len(speech)) / 16000
    mean = sum(0.3 * np.sin(2 * np.pi * (150 + 70 * i) * times * (1 + 0.3 * times)) for i in range(len(made)))
    assert np.abs(speech - mean / len(made))[1600:-1600].max() < 0.03


@pytest.mark.parametrize(("name", "container"), [("a.m4a", "ipod"), ("a.aac", "adts"), ("a.ts", "mpegts")])
def test_aac_is_read_within_its_own_frames(tmp_path, name, container):
    """AAC is padded to whole frames, and bare AAC keeps the encoder's run-in."""
    made = chirp(44100, 1.5)
    sound = load_sound(encode(tmp_path / name, made, "aac", 44100, "mono", container))
    assert 0 <= sound.duration * 44100 - made.shape[1] <= 2048
    assert all_of(sound).shape[1] == sound.duration * 44100


def test_a_video_gives_its_own_sound_from_its_first_sample(tmp_path):
    made = chirp(48000, 1)
    path = numbered_video(tmp_path / "film.mov", sound=made, sound_rate=48000, sound_codec="pcm_s16le",
                          sound_from=Fraction(1, 4))  # fmt: skip
    sound = load_sound(path)
    assert (sound.start, sound.duration) == (Fraction(1, 4), 1)
    np.testing.assert_allclose(all_of(sound), made, atol=1e-4)


def refused(path) -> MotionError:
    with pytest.raises(MotionError) as caught:
        load_sound(path)
    assert str(Path(path).parent) not in str(caught.value)
    return caught.value


def test_files_without_sound_and_files_that_cannot_be_read(tmp_path):
    numbered_video(tmp_path / "silent.mp4", 5)
    for name in ("p.png", "p.jpg", "p.gif", "p.webp"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    for name in ("silent.mp4", "p.png", "p.jpg", "p.gif", "p.webp"):
        error = refused(tmp_path / name)
        assert (error.code, name in error.message) == ("no_sound", True)
    (tmp_path / "page.mp3").write_text("<html>not found</html>" * 200)
    (tmp_path / "empty.wav").touch()
    whole = encode(tmp_path / "a.m4a", chirp(44100, 1), "aac", 44100, "mono", "ipod").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(whole[: len(whole) // 2])
    mp3 = bytearray(encode(tmp_path / "a.mp3", chirp(44100, 3), "libmp3lame", 44100, "mono").read_bytes())
    mp3[len(mp3) // 2 : len(mp3) // 2 + 2000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "damaged.mp3").write_bytes(mp3)
    for name in ("page.mp3", "empty.wav", "missing.wav", "cut.m4a", "damaged.mp3"):
        error = refused(tmp_path / name)
        assert (error.code, name in error.message) == ("sound_unreadable", True)
    assert "at second 1." in refused(tmp_path / "damaged.mp3").message
    broken = chirp(16000, 1)
    broken[0, 9000] = np.nan
    assert "NaN" in refused(wav(tmp_path / "nan.wav", broken, 16000)).message
    playlist = tmp_path / "list.wav"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\na.mp3\n#EXT-X-ENDLIST\n")
    assert refused(playlist).code == "sound_unreadable"


def dark(count: int) -> TensorFrames:
    return TensorFrames(torch.zeros(count, 16, 16, 3, dtype=torch.uint8), Fraction(25))


def test_one_voice_keeps_its_source_and_its_packets(tmp_path):
    made = np.concatenate([np.zeros((1, 44100), np.float32), chirp(44100, 2), np.zeros((1, 44100), np.float32)], 1)
    sound = load_sound(encode(tmp_path / "a.m4a", made, "aac", 44100, "mono", "ipod"))
    voices, placed = prepare_voices([sound], "one_after_another")
    assert result_sound(placed, len(voices.speech[0])) is sound
    assert write_mp4(tmp_path / "out.mp4", dark(voices.num_frames), sound).sound == "copied"
    voices, placed = prepare_voices([sound], "together", trim_silence=True)
    kept = result_sound(placed, len(voices.speech[0]))
    assert float(kept.start) == pytest.approx(0.9, abs=0.05)
    assert float(kept.end) == pytest.approx(3.1, abs=0.05)
    assert len(voices.speech[0]) == pytest.approx(kept.duration * 16000, abs=1)
    assert write_mp4(tmp_path / "out.mp4", dark(voices.num_frames), kept).sound == "copied"


@pytest.mark.parametrize("order", ["one_after_another", "together"])
def test_two_voices_are_mixed_at_the_higher_rate_and_on_time(tmp_path, order: str, monkeypatch):
    monkeypatch.setattr(mix, "_BLOCK", 999)
    one, two = chirp(22050, 0.7), chirp(48000, 1.0123, 2, 0.2)
    sounds = [load_sound(wav(tmp_path / "1.wav", one, 22050)), load_sound(wav(tmp_path / "2.wav", two, 48000))]
    voices, placed = prepare_voices(sounds, order)
    result = result_sound(placed, len(voices.speech[0]))
    assert format_of(result) == SoundFormat(48000, 2)
    assert abs(result.duration - voices.seconds) < Fraction(1, 48000)
    wanted = np.zeros((2, round(result.duration * 48000)), np.float32)
    times = np.arange(33600) / 48000
    wanted[:, :33600] += 0.3 * np.sin(2 * np.pi * 150 * times * (1 + 0.3 * times))
    begin = round(Fraction(11200, 16000) * 48000) if order == "one_after_another" else 0
    wanted[:, begin : begin + two.shape[1]] += two
    got = all_of(load_sound(result.path))
    assert got.shape == wanted.shape
    difference = np.abs(got - wanted)
    difference[:, 33000:34000] = 0  # where the resampled one stops: its filter rings
    assert difference[:, 200:].max() < 1e-3
    # Where each voice begins to be heard, by the model and in the result.
    for speech in voices.speech:
        assert len(speech) == (11200 + 16197 if order == "one_after_another" else 16197)


def test_levels_stay_as_they_are_unless_the_sum_would_clip(tmp_path, caplog):
    for level, peak in [(0.4, 0.8), (0.8, 1.0)]:
        sounds = [load_sound(wav(tmp_path / "1.wav", chirp(16000, 1, level=level), 16000))] * 2
        voices, placed = prepare_voices(sounds, "together")
        with caplog.at_level("INFO"):
            got = all_of(result_sound(placed, len(voices.speech[0])))
        assert got.shape == (1, 16000)
        assert np.abs(got).max() == pytest.approx(peak, abs=1e-3)
    assert [r.message for r in caplog.records if "turned down" in r.message] == [
        "The voices' sum would clip: all of it is turned down by 4.1 dB"
    ]


def test_audio_of_another_node(tmp_path):
    made = torch.from_numpy(chirp(44100, 1.2, 2))
    sound = audio_to_sound(made[None], 44100)
    assert load_sound(sound.path) == sound
    np.testing.assert_array_equal(all_of(sound), made.numpy())
    refusals = {"no_sound": (None, torch.zeros(1, 2, 0)), "sound_unreadable": (torch.full((1, 1, 9), float("nan")),)}
    refusals["invalid_value"] = (torch.zeros(2, 1, 9), torch.zeros(1, 9, 9))
    for code, waveforms in refusals.items():
        for waveform in waveforms:
            with pytest.raises(MotionError, match=code):
                audio_to_sound(waveform, 44100)


def test_the_voice_that_is_silent_is_named(tmp_path):
    sounds = [load_sound(wav(tmp_path / f"{n}.wav", chirp(16000, 1, level=n * 0.3), 16000)) for n in (1, 0)]
    with pytest.raises(MotionError, match=r"\[no_voice\] Voice 2 is silent.*digital zero"):
        prepare_voices(sounds, "together")


def test_nothing_holds_the_source(tmp_path):
    """Loading, mixing and writing take the memory of a few blocks, however long the sound is."""

    def peak(seconds: int) -> int:
        def blocks():
            for _ in range(seconds):
                yield chirp(48000, 1, 2)

        write_wav(tmp_path / "long.wav", blocks(), 48000, 2)
        sound = load_sound(tmp_path / "long.wav")
        placed = [mix.Placed(sound, 0), mix.Placed(sound, 8000)]
        tracemalloc.start()
        load_sound(tmp_path / "long.wav")
        result_sound(placed, seconds * 16000)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    short, long = peak(5), peak(40)
    assert long < short * 1.15 + 100_000, (short, long)


def test_two_recordings_of_44100_hz_in_stereo(tmp_path):
    """../shared/samples where they are; else as much sound of the project's own."""
    counts, paths = (78848, 136192), [SAMPLES / "voice_1.wav", SAMPLES / "voice_2.wav"]
    if not all(path.is_file() for path in paths):
        paths = [wav(tmp_path / f"{n}.wav", chirp(44100, n / 44100, 2), 44100) for n in counts]
    voices, placed = prepare_voices([load_sound(path) for path in paths], "one_after_another")
    lengths = [-(-count * 16000 // 44100) for count in counts]
    assert len(voices.speech[0]) == sum(lengths)
    assert voices.num_frames == sum(lengths) // 640 == 121
    assert not voices.speech[0][lengths[0] :].any()
    assert not voices.speech[1][: lengths[0]].any()
    for speech, begin, length in zip(voices.speech, (0, lengths[0]), lengths, strict=True):
        assert loudness(speech[begin : begin + length], 16000) == pytest.approx(-23, abs=0.01)
    result = result_sound(placed, sum(lengths))
    assert format_of(result) == SoundFormat(44100, 2)
    assert float(result.duration) == pytest.approx(sum(lengths) / 16000, abs=1 / 44100)
