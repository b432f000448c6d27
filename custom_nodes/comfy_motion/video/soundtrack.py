"""Writing a Sound into an MP4: its AAC packets as they are where that fits, else cut to the sample and encoded anew.

Both kinds give their packets piece by piece, up to a time, so that picture and sound are interleaved in the file and
neither is ever held whole.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from .index import clock, only, open_container
from .samples import JITTER, samples
from .sound import Sound

_BIT_RATE = 192_000
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Soundtrack:
    """A sound being written; `pump(until)` gives the packets that begin before that second of the output."""

    def __init__(self, packets: Iterator[av.Packet], copied: bool):
        self._packets, self.copied = packets, copied
        self._waiting: av.Packet | None = None

    def pump(self, until: Fraction | None = None) -> Iterator[av.Packet]:
        """Packets with times before `until` seconds; None = all that are left."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            if until is not None and packet.pts is not None and packet.pts * packet.time_base >= until:
                self._waiting = packet
                return
            yield packet


def add_soundtrack(output: OutputContainer, sound: Sound) -> tuple[Soundtrack, InputContainer]:
    """A sound stream in `output` and the source it reads from, which the caller closes when all is written.

    Raises MotionError video_unreadable when the sound cannot be decoded.
    """
    source = open_container(sound.path)
    try:
        stream = cast(AudioStream, source.streams[sound.stream])
        only(source, stream)
        if _can_be_copied(source, stream, sound):
            return _copied(output, source, stream, sound), source
        return _encoded(output, source, stream, sound), source
    except BaseException:
        source.close()
        raise


def _can_be_copied(source: InputContainer, stream: AudioStream, sound: Sound) -> bool:
    """Whether the source's own packets make the same sound: AAC with its setup in the header, and no hole in the range.

    Otherwise silence has to be put in, which needs encoding. Looks at the packets' times only.
    """
    if stream.codec_context.name != "aac" or not stream.codec_context.extradata:
        return False
    covered: Fraction | None = None
    for begins, packet in _packets_in_range(source, stream, sound):
        if begins > sound.start if covered is None else abs(begins - covered) > JITTER:
            return False
        covered = begins + (packet.duration or 0) * clock(stream)
    frame = Fraction(stream.codec_context.frame_size or 1024, stream.codec_context.sample_rate)
    return covered is not None and covered >= sound.end - frame


def _packets_in_range(
    source: InputContainer, stream: AudioStream, sound: Sound, lead_in: int = 0
) -> Iterator[tuple[Fraction, av.Packet]]:
    """The packets that sound between start and end with their times in seconds, and up to `lead_in` before them."""
    source.seek(int((sound.start - 1) / clock(stream)), stream=stream)
    before: list[tuple[Fraction, av.Packet]] = []
    for packet in source.demux(stream):
        if not packet.size or packet.pts is None:
            continue
        begins = packet.pts * clock(stream)
        if begins >= sound.end:
            return
        if begins + (packet.duration or 0) * clock(stream) <= sound.start:
            before = [*before, (begins, packet)][-lead_in:] if lead_in else []
            continue
        yield from before
        before = []
        yield begins, packet


def _copied(
    output: OutputContainer,
    source: InputContainer,
    stream: AudioStream,
    sound: Sound,
) -> Soundtrack:
    """Packets moved in time so that `start` is 0. What lies before it has negative times, from which the MP4 writer
    makes an edit list: players decode it and begin at the exact sample."""
    target = output.add_stream_from_template(stream)

    def packets() -> Iterator[av.Packet]:
        end = round(sound.duration / clock(stream))
        for begins, packet in _packets_in_range(source, stream, sound, lead_in=1):
            at = round((begins - sound.start) / clock(stream))
            packet.pts = packet.dts = at
            if packet.duration and at + packet.duration > end:
                packet.duration = max(1, end - at)
            packet.stream = target
            yield packet

    return Soundtrack(packets(), copied=True)


def _encoded(
    output: OutputContainer,
    source: InputContainer,
    stream: AudioStream,
    sound: Sound,
) -> Soundtrack:
    """AAC at 192 kbit/s: mono stays mono, everything else becomes stereo; silence where the source has no sound."""
    rate = stream.codec_context.sample_rate
    rate = rate if rate in _AAC_RATES else 48000
    layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
    target = output.add_stream("aac", rate=rate, layout=layout)
    target.bit_rate = _BIT_RATE

    def packets() -> Iterator[av.Packet]:
        written = 0
        for piece in samples(source, stream, sound, rate, layout):
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, written, Fraction(1, rate)
            written += piece.shape[1]
            yield from target.encode(frame)
        yield from target.encode(None)

    return Soundtrack(packets(), copied=False)
