"""Video in, resampled, written out, without any model: how many times real time, and how much memory.

    python -m bench.video [--json] [--seconds 6 60] [--preset veryfast] [--crf 17] [--runs 1]

A 1280x720, 30 fps H.264 file with AAC sound (made here: moving gradients, a drifting natural texture, grain) is read
as 24 fps frames and written as an MP4. Each run is a process of its own, so that its peak memory is its own.
Aim: at least 3 times real time on 2 cores, and a minute that needs no more memory than 6 seconds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, SOURCE_FPS, FPS = 1280, 720, 30, Fraction(24)
SOUND_RATE = 48_000
AIM_TIMES_REAL_TIME = 3.0
AIM_MEMORY_RATIO = 1.15


def natural_texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A texture with the 1/f spectrum of natural pictures, float32 [h, w, 3], mean 0, deviation 1."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    layers = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency**1.2) for _ in range(3)]
    texture = np.stack(layers, -1)
    return (texture / texture.std()).astype(np.float32)


def make_source(path: Path, seconds: int) -> None:
    """Write the video that is measured: `seconds` long, with stereo sound."""
    texture = (natural_texture(WIDTH + 256, HEIGHT + 128) * 30).astype(np.int16)
    ramp = np.linspace(60, 190, WIDTH, dtype=np.float32)[None, :, None] * np.ones((HEIGHT, 1, 3), np.float32)
    grain = (np.random.default_rng(1).standard_normal((HEIGHT * 2, WIDTH * 2, 1)) * 2).astype(np.int16)
    rng = np.random.default_rng(2)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=SOURCE_FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        track = output.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        for number in range(seconds * SOURCE_FPS):
            angle = number / SOURCE_FPS
            x, y = int(128 + 120 * np.sin(angle * 0.7)), int(64 + 60 * np.cos(angle * 0.9))
            dx, dy = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
            image = np.roll(ramp, int(40 * angle), 1).astype(np.int16) + texture[y : y + HEIGHT, x : x + WIDTH]
            image += grain[dy : dy + HEIGHT, dx : dx + WIDTH]
            frame = av.VideoFrame.from_ndarray(image.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
            samples = SOUND_RATE // SOURCE_FPS
            times = (np.arange(samples) + number * samples) / SOUND_RATE
            wave = np.repeat((0.3 * np.sin(2 * np.pi * 440 * times))[None], 2, 0).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            sound.sample_rate, sound.pts = SOUND_RATE, number * samples
            output.mux(track.encode(sound))
        output.mux(stream.encode(None))
        output.mux(track.encode(None))


def measure(source: Path, preset: str, crf: float) -> dict:
    """Resample and write in this process. times_real_time is of the written video; peak in MiB, imports included."""
    from custom_nodes.comfy_motion.video.reader import VideoFrames
    from custom_nodes.comfy_motion.video.sound import find_sound
    from custom_nodes.comfy_motion.video.writer import write_mp4

    before = peak_mib()
    target = source.with_name("out.mp4")
    start, cpu = time.perf_counter(), time.process_time()
    frames = VideoFrames(source, WIDTH, HEIGHT, FPS)
    written = write_mp4(target, frames, find_sound(source, *frames.source_range), crf, preset)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    length = float(frames.num_frames / FPS)
    return {
        "seconds_of_video": length,
        "frames": frames.num_frames,
        "sound": written.sound,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "times_real_time": round(length / wall, 2),
        "peak_mib": round(peak_mib()),
        "peak_mib_after_imports": round(before),
        "megabytes_written": round(target.stat().st_size / 1e6, 2),
    }


def peak_mib() -> float:
    """The most memory this process has held so far (its resident set), MiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def in_a_process_of_its_own(source: Path, preset: str, crf: float) -> dict:
    command = [sys.executable, "-m", "bench.video", "--one", str(source), "--preset", preset, "--crf", str(crf)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--seconds", type=int, nargs="+", default=[6, 60], help="lengths of the sources in seconds")
    parser.add_argument("--preset", default="veryfast", help="libx264's preset")
    parser.add_argument("--crf", type=float, default=17.0, help="libx264's quality")
    parser.add_argument("--runs", type=int, default=1, help="runs a length; the fastest counts")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.preset, options.crf)))
        return
    results = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-video-") as folder:
        for seconds in options.seconds:
            source = Path(folder) / f"source_{seconds}.mp4"
            make_source(source, seconds)
            runs = [in_a_process_of_its_own(source, options.preset, options.crf) for _ in range(options.runs)]
            results.append(min(runs, key=lambda run: run["wall_seconds"]))
    report(results, load, options)


def report(results: list[dict], load: float, options: argparse.Namespace) -> None:
    summary = {
        "preset": options.preset,
        "crf": options.crf,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "results": results,
        "memory_ratio": round(results[-1]["peak_mib"] / results[0]["peak_mib"], 3),
    }
    if options.json:
        print(json.dumps(summary, indent=2))
        return
    print(f"{WIDTH}x{HEIGHT}, {SOURCE_FPS} to {FPS} fps, {options.preset} crf {options.crf:g}, {os.cpu_count()} cores,")
    print(f"load before {load:.1f}\n\n  length    wall     CPU   x real time   peak memory   written")
    for run in results:
        print(
            f"  {run['seconds_of_video']:4.0f} s {run['wall_seconds']:6.1f} s {run['cpu_seconds']:6.1f} s"
            f" {run['times_real_time']:10.2f} x {run['peak_mib']:9d} MiB {run['megabytes_written']:7.1f} MB"
        )
    slowest = min(run["times_real_time"] for run in results)
    print(f"\nSpeed {slowest:.2f} x (aim {AIM_TIMES_REAL_TIME:g}), memory of the longest by the shortest ", end="")
    print(f"{summary['memory_ratio']:.3f} (aim at most {AIM_MEMORY_RATIO:g})")


if __name__ == "__main__":
    main()
