"""What a voice's file really holds: all of its sound decoded, piece by piece, so that no broken or silent one passes.

Any container that PyAV reads, a video with sound, too. The samples are counted and not taken from a header: the
number of frames of the finished video depends on each of them. They are counted as the node "Load Sound" does, holes
in the track included; a test holds this file to custom_nodes/comfy_motion/talk/sounds.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from .errors import JobError
from .filetype import head_of, seen, sniff

SILENCE_DBFS = -70.0
"""Loudest block of a silent file: what BS.1770-4 counts as silence (its absolute gate, annex 1, in LUFS)."""
BLOCK_SECONDS = 0.4
"""Of one measurement, as there."""
HOLE_SECONDS = Fraction(1, 50)
"""Containers round times; a smaller step between two pieces of sound is rounding, not a hole."""
_DEMUXERS = {
    **{"MP4": "mov", "MOV": "mov", "Matroska": "matroska", "AVI": "avi", "FLV": "flv", "MPEG-TS": "mpegts"},
    **{"WAV": "wav", "MP3": "mp3,aac,flac", "AAC": "aac", "FLAC": "flac", "Ogg": "ogg", "AIFF": "aiff", "CAF": "caf"},
    **{"AU": "au", "AMR": "amr", "ASF": "asf"},
    "unknown": "mp3,aac,w64,wv,ape,tta,tak,ac3,eac3,dts,loas,mpeg,mxf,nut,voc,dsf,mpc,mpc8,rm,ircam",
}
"""ffmpeg's readers for what the first bytes say; none of them follows a path or an address that a file names."""


@dataclass(frozen=True)
class SoundInfo:
    """A sound as it decodes: samples of each channel from its first to its last, holes included; how many a second
    (Hz), channels; seconds; the loudest 0.4 s of its mono mean in dB to full scale (-inf for digital silence)."""

    num_samples: int
    rate: int
    channels: int
    duration: float
    loudest_dbfs: float

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to hear in it."""
        return self.loudest_dbfs < SILENCE_DBFS


def probe_sound(path: Path, max_seconds: float | None = None) -> SoundInfo:
    """Decode the first sound track of a file in full, up to `max_seconds`.

    Raises JobError sound_unreadable (no file with sound, or damaged), no_sound (no track of it), no_voice (silence),
    audio_too_long.
    """
    kind = sniff(head_of(path))
    if kind not in _DEMUXERS:
        raise JobError("sound_unreadable", **seen(kind))
    options = {"format_whitelist": _DEMUXERS[kind], "protocol_whitelist": "file"}
    try:
        with av.open(str(path.resolve()), options=options, metadata_errors="ignore") as container:
            info = _probe(container, max_seconds)
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise JobError("sound_unreadable", detail=f"It cannot be opened ({reason}).") from None
    if info.is_silent:
        heard = f"its loudest {BLOCK_SECONDS:g} s have {info.loudest_dbfs:.0f} dBFS"
        raise JobError("no_voice", detail=f"All its {info.duration:.2f} s are silent: {heard}.")
    return info


def _probe(container: InputContainer, max_seconds: float | None) -> SoundInfo:
    sounds = container.streams.audio
    if not sounds:
        raise JobError("no_sound", detail="There is no sound track in it.")
    # Phones add tracks that no decoder exists for (spatial audio); PyAV has no codec context there.
    stream = next((s for s in sounds if s.codec_context is not None and s.codec_context.sample_rate), None)
    if stream is None:
        raise JobError("sound_unreadable", detail="Its sound is in a format that cannot be decoded.")
    said = (container.duration or 0) / av.time_base
    heard = _Heard(stream.time_base or Fraction(1, av.time_base))
    for frame in _frames(container, stream, heard):
        heard.add(frame)
        if max_seconds is not None and heard.seconds > max_seconds:
            has = f"{said:.1f} s" if said > max_seconds else "more"
            raise JobError("audio_too_long", detail=f"It has {has}; the limit is {max_seconds:g} s.")
    if not heard.num_samples:
        raise JobError("sound_unreadable", detail=f"No sound of it can be decoded (codec {stream.codec_context.name}).")
    return SoundInfo(heard.num_samples, heard.rate, heard.channels, heard.seconds, heard.loudest_dbfs)


def _frames(container: InputContainer, stream: av.AudioStream, heard: "_Heard") -> Iterator[av.AudioFrame]:
    try:
        # As the node does: after it, ffmpeg leaves more of some MP3s' run-in (under 0.05 s) in their sound.
        container.seek(stream.start_time or 0, stream=stream)
        yield from container.decode(stream)
    except FFmpegError as error:
        detail = f"Its sound cannot be decoded at {heard.seconds:.2f} s ({error.strerror or error})."
        raise JobError("sound_unreadable", detail=detail) from None


class _Heard:
    """What passed by while decoding. tick: seconds of a frame's time."""

    def __init__(self, tick: Fraction) -> None:
        self.rate = self.channels = 0
        self._tick = tick
        self._next = self._origin = Fraction(0)
        self._first = self._position = self._end = 0
        self._loudest = self._squares = 0.0
        self._in_block = self._decoded = 0

    @property
    def num_samples(self) -> int:
        return self._end - self._first

    @property
    def seconds(self) -> float:
        return self.num_samples / self.rate if self.rate else 0.0

    @property
    def loudest_dbfs(self) -> float:
        """Of a whole block, or of what there is where the sound is shorter than one."""
        shorter = self._squares / self._in_block if self._in_block == self._decoded else 0.0
        loudest = sqrt(max(self._loudest, shorter))
        return 20 * float(np.log10(loudest)) if loudest else float("-inf")

    def add(self, frame: av.AudioFrame) -> None:
        """One decoded piece. Raises sound_unreadable where its samples are no numbers, or its rate is another."""
        self.rate = self.rate or frame.sample_rate
        self.channels = self.channels or frame.layout.nb_channels
        if frame.sample_rate != self.rate:
            detail = f"Its rate changes from {self.rate} to {frame.sample_rate} Hz at {self.seconds:.2f} s."
            raise JobError("sound_unreadable", detail=detail)
        self._place(frame)
        squares = float(np.square(mono(frame)).sum())
        if not np.isfinite(squares):
            raise JobError("sound_unreadable", detail=f"It has samples that are no numbers at {self.seconds:.2f} s.")
        self._squares += squares
        self._in_block += frame.samples
        self._decoded += frame.samples
        if self._in_block >= BLOCK_SECONDS * self.rate:
            self._loudest = max(self._loudest, self._squares / self._in_block)
            self._squares, self._in_block = 0.0, 0

    def _place(self, frame: av.AudioFrame) -> None:
        """Pieces follow one another, but where the track has a hole."""
        begins = self._next if frame.pts is None else frame.pts * self._tick
        if not self._decoded:
            self._origin = begins
        at = round((begins - self._origin) * self.rate)
        if abs(at - self._position) > HOLE_SECONDS * self.rate:
            self._position = at
        self._first = min(self._first, self._position)
        self._position += frame.samples
        self._end = max(self._end, self._position)
        self._next = begins + Fraction(frame.samples, self.rate)


def mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of a piece's channels, float64 [samples], full scale 1: what a voice is made of."""
    samples: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    mean = samples.astype(np.float64).mean(0)
    if samples.dtype.kind == "f":
        return mean
    zero = 128 if samples.dtype.kind == "u" else 0
    return (mean - zero) / 2.0 ** (8 * samples.dtype.itemsize - 1)
