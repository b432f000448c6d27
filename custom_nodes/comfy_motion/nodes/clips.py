"""Clips that go on from one another: two experts, decoding to disk, keeping, matching colours, joining."""

from pathlib import Path

from comfy_api.latest import io

from ..clips import keep
from ..clips.boundary import split_at_boundary
from ..clips.decode import decode
from ..clips.join import JoinedFrames
from ..clips.matched import match_colour
from ..clips.signature import comfyui_files, signature
from ..errors import MotionError
from ..scratch import scratch_folder
from ..video.frames import Frames, to_float
from ..video.timeline import exact_rate
from .progress import progress
from .types import FRAMES

CATEGORY = "comfy-motion/clips"
_given_out = keep.GivenOut()


class CMSplitAtBoundary(io.ComfyNode):
    """The schedule's two parts for a model of two experts; core's SplitSigmas wants the number of the step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSplitAtBoundary",
            display_name="Split at Boundary",
            category=CATEGORY,
            description="Splits a schedule between the high-noise and the low-noise expert of Wan2.2 A14B where the "
            "published model does: by the noise level itself, whatever the steps and the shift are.",
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="The noise levels, falling, one more than the steps."),
                io.Float.Input(
                    "boundary",
                    default=0.9,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Noise level from which on the high-noise expert works (timestep / 1000): 0.9 for Wan2.2 "
                    "image to video, 0.875 for text to video.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="high_sigmas"), io.Sigmas.Output(display_name="low_sigmas")],
        )

    @classmethod
    def execute(cls, sigmas, boundary: float) -> io.NodeOutput:
        return io.NodeOutput(*split_at_boundary(sigmas, boundary))


class CMDecodeVideo(io.ComfyNode):
    """Latents to lazy frames on disk; core's VAEDecode keeps all pictures in memory as float32."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMDecodeVideo",
            display_name="Decode Video",
            category=CATEGORY,
            description="Decodes a video latent and puts the frames on disk, lossless, 8 bit. Stable Video Diffusion's "
            "decoder looks at neighbouring frames: as many are decoded together as the memory allows.",
            inputs=[
                io.Latent.Input("samples", tooltip="The latent of a video: Wan's, or Stable Video Diffusion's."),
                io.Vae.Input("vae", tooltip="The VAE of the model that made the latent."),
                io.Float.Input("fps", default=16.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.Int.Input(
                    "chunk",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Frames that Stable Video Diffusion's decoder sees together; 0 is as many as fit into "
                    "free memory. Halved when memory runs out. Wan's VAE takes no notice of it.",
                ),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def execute(cls, samples, vae, fps: float, chunk: int) -> io.NodeOutput:
        return io.NodeOutput(decode(vae, samples, exact_rate(fps), chunk, progress()))


class CMMatchColour(io.ComfyNode):
    """A clip in the colours of the frame it went on from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMMatchColour",
            display_name="Match Colour",
            category=CATEGORY,
            description="Brings a clip to the colours of the picture it was started from: one gain and offset a "
            "channel, measured between its first frame and that picture, applied to every frame.",
            inputs=[
                FRAMES.Input("frames", tooltip="The clip; its first frame shows what the reference shows."),
                io.Image.Input("reference", tooltip="The picture the clip was started from, of the clip's size."),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="0 changes nothing, 1 matches fully."
                ),
            ],
            outputs=[FRAMES.Output(display_name="frames")],
        )

    @classmethod
    def execute(cls, frames: Frames, reference, strength: float) -> io.NodeOutput:
        return io.NodeOutput(match_colour(frames, reference, strength))


class CMKeepFrames(io.ComfyNode):
    """A clip kept on disk for the next run of the same graph, which then makes nothing in front of this node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMKeepFrames",
            display_name="Keep Frames",
            category=CATEGORY,
            description="Keeps frames losslessly in ComfyUI's user folder, comfy_motion/kept/<name>. When everything "
            "in front of this node is as it was (settings, seeds, models, content of the input files), they are taken "
            "from there and nothing in front of it runs, after a restart too. Remove the folder to free the disk.",
            inputs=[
                FRAMES.Input("frames", lazy=True, tooltip="The frames; made only when they are not kept already."),
                io.String.Input("name", default="clip", tooltip="Folder they are kept in: letters, digits, . _ and -."),
            ],
            outputs=[
                FRAMES.Output(display_name="frames"),
                io.Image.Output(display_name="last_frame", tooltip="The last frame, to go on from."),
                io.Int.Output(display_name="num_frames"),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **kwargs) -> int:
        return _given_out.lost((cls.hidden.unique_id, name))

    @classmethod
    def check_lazy_status(cls, name: str, frames: Frames | None = None) -> list[str]:
        folder = _kept_folder(cls.hidden, name)
        missing = frames is None and (folder is None or keep.find(folder) is None)
        return ["frames"] if missing else []

    @classmethod
    def execute(cls, name: str, frames: Frames | None = None) -> io.NodeOutput:
        folder = _kept_folder(cls.hidden, name)
        kept = keep.find(folder) if folder else None
        if kept is None:
            if frames is None:
                raise MotionError(
                    "invalid_value",
                    f"The frames kept as {name} are gone, and there are no new ones.",
                    "Connect frames; if they are connected, the folder was removed just now: run again.",
                )
            kept = keep.keep(folder or scratch_folder("not-kept") / "clip", frames, progress())
        if folder:
            keep.used(folder)
            _given_out.add((cls.hidden.unique_id, name), folder)
        last_frame = to_float(kept.read(kept.num_frames - 1, kept.num_frames))
        return io.NodeOutput(kept, last_frame, kept.num_frames)


class CMJoinFrames(io.ComfyNode):
    """Two clips as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMJoinFrames",
            display_name="Join Frames",
            category=CATEGORY,
            description="Puts two clips one after the other, at the first one's rate. Nothing is copied or held.",
            inputs=[
                FRAMES.Input("first", tooltip="The frames that come first."),
                FRAMES.Input("second", tooltip="The frames that follow, of the same size."),
                io.Int.Input(
                    "drop",
                    default=1,
                    min=0,
                    max=2**31 - 1,
                    tooltip="Frames left out at the start of second: 1 when it begins with the frame first ends with.",
                ),
            ],
            outputs=[FRAMES.Output(display_name="frames"), io.Int.Output(display_name="num_frames")],
        )

    @classmethod
    def execute(cls, first: Frames, second: Frames, drop: int) -> io.NodeOutput:
        joined = JoinedFrames(first, second, drop)
        return io.NodeOutput(joined, joined.num_frames)


def _kept_folder(hidden: io.HiddenHolder, name: str) -> Path | None:
    """Where these frames are kept; None where ComfyUI does not tell what they are made from."""
    import folder_paths
    from comfyui_version import __version__

    keep.checked_name(name)
    try:
        link = (hidden.prompt or {})[hidden.unique_id]["inputs"]["frames"]
        made_from = signature(hidden.prompt, link, comfyui_files, __version__)
    except (KeyError, ValueError):
        return None
    return Path(folder_paths.get_user_directory()) / "comfy_motion" / "kept" / name / made_from


NODES: list[type[io.ComfyNode]] = [CMSplitAtBoundary, CMDecodeVideo, CMMatchColour, CMKeepFrames, CMJoinFrames]
