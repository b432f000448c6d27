"""The plan of windows: which driving frames each clip shows and which of its frames are kept. Pure.

A clip of Wan-Animate has 4n+1 frames (77 in the authors' code), because the VAE packs the first frame alone
and then four at a time. A longer video is made of clips that continue one another: the first `overlap`
frames of a clip show moments that the clip before has made already, they are given to the model as known and
are dropped from the result. Past the end of the driving video the authors go back and forth over it
(ping-pong, the end frames not doubled), and what was generated there is cut off.
"""

from dataclasses import dataclass

SHORTEN = ("single", "last", "never")


@dataclass(frozen=True)
class Window:
    """One clip: `length` frames that begin at driving frame `start`, the first `overlap` of them known."""

    index: int
    start: int
    length: int
    overlap: int
    keep: int
    num_frames: int

    @property
    def frames(self) -> list[int]:
        """The driving frame each of the `length` frames shows; ping-pong past the end."""
        return ping_pong(range(self.start, self.start + self.length), self.num_frames)

    @property
    def kept(self) -> range:
        """Which frames of the finished video this window adds."""
        return range(self.start + self.overlap, self.start + self.overlap + self.keep)


def ping_pong(positions: range, num_frames: int) -> list[int]:
    """Positions of an endless 0, 1, ..., n-1, n-2, ..., 1, 0, 1, ... as frame numbers of a video of n frames."""
    if num_frames < 1:
        raise ValueError("a video without frames has nothing to show")
    if num_frames == 1:
        return [0] * len(positions)
    period = 2 * (num_frames - 1)
    return [min(p % period, period - p % period) for p in positions]


def whole_clip(num_frames: int) -> int:
    """The smallest 4n+1 that holds `num_frames` frames."""
    return (num_frames + 2) // 4 * 4 + 1


def latents_of(frames: int) -> int:
    """Latent frames of a clip: the VAE packs the first frame alone and then four at a time."""
    return (frames - 1) // 4 + 1


def plan_windows(num_frames: int, length: int = 77, overlap: int = 5, shorten: str = "single") -> list[Window]:
    """The windows of a video of `num_frames` frames; together they keep each frame exactly once, in order.

    `shorten` says which windows may be shorter than `length`:
    - "single": a video that fits into one window gets the smallest 4n+1 that holds it. The clip length is a
      free argument (4n+1) of the authors' code too, so this is what it does when called with that length; it
      spends no time on frames that are thrown away, and ping-pong adds three frames at the most.
    - "last": also the last window of a longer video. Cheaper still (a clip's time grows with the square of
      its length), but the authors never mix lengths in one video: their last clip is whole.
    - "never": always whole clips filled by ping-pong, as the authors' command line does.

    Raises ValueError when the numbers cannot be planned: `length` and `overlap` must be 4n+1, overlap < length.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames is {num_frames}; there is nothing to animate")
    for name, value in (("length", length), ("overlap", overlap)):
        if value < 1 or value % 4 != 1:
            raise ValueError(f"{name} is {value}; it must be a multiple of 4 plus 1 (1, 5, ... 77), as the VAE packs")
    if overlap >= length:
        raise ValueError(f"overlap is {overlap} and length {length}: no window would add a frame")
    if shorten not in SHORTEN:
        raise ValueError(f"shorten is {shorten!r}; it must be one of {', '.join(SHORTEN)}")

    windows: list[Window] = []
    done = 0
    while done < num_frames:
        known = overlap if windows else 0
        keep = min(length - known, num_frames - done)
        is_last = done + keep == num_frames
        may_shrink = is_last and (shorten == "last" or (shorten == "single" and not windows))
        clip = whole_clip(known + keep) if may_shrink else length
        windows.append(Window(len(windows), done - known, clip, known, keep, num_frames))
        done += keep
    return windows
