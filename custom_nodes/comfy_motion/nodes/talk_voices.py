"""Voices in: sound files and sounds made by other nodes, and what MultiTalk hears of them; nodes over `talk/`."""

import hashlib
import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..talk.audio_input import audio_to_sound
from ..talk.mix import result_sound
from ..talk.sounds import load_sound
from ..talk.voices import LOUDNESS, ORDERS, prepare_voices
from ..video.sound import Sound
from .talk_types import VOICES
from .types import SOUND

CATEGORY = "comfy-motion/multitalk"


class CMLoadSound(io.ComfyNode):
    """The sound of a file. Core's LoadAudio decodes all of it into memory; here only its place is kept, so that it can
    be copied into the result as it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        folder = folder_paths.get_input_directory()
        files = folder_paths.filter_files_content_types(os.listdir(folder), ["audio", "video"])
        return io.Schema(
            node_id="CMLoadSound",
            display_name="Load Sound",
            category=CATEGORY,
            description="The first audio track of a sound file or a video, at any sampling rate and with any channels. "
            "It is checked to its end and not held in memory.",
            inputs=[
                # Not "audio": the classic editor would look for the player that it gives to core's own nodes alone.
                io.Combo.Input(
                    "file",
                    options=sorted(files),
                    upload=io.UploadType.audio,
                    tooltip="A sound file or a video with sound in ComfyUI's input folder.",
                )
            ],
            outputs=[SOUND.Output(display_name="sound")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(load_sound(folder_paths.get_annotated_filepath(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        with Path(folder_paths.get_annotated_filepath(file)).open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if not folder_paths.exists_annotated_filepath(file):
            return f"There is no file {file} in ComfyUI's input folder."
        return True


class CMAudioToSound(io.ComfyNode):
    """AUDIO as a sound, so that core's audio nodes can stand in front of ours."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMAudioToSound",
            display_name="Audio to Sound",
            category=CATEGORY,
            description="Writes AUDIO from another node (Load Audio, Trim Audio, text to speech) into a WAV file that "
            "lives as long as the prompt.",
            inputs=[io.Audio.Input("audio", tooltip="One recording, up to 8 channels at any rate.")],
            outputs=[SOUND.Output(display_name="sound")],
        )

    @classmethod
    def execute(cls, audio: dict[str, Any] | None) -> io.NodeOutput:
        waveform, rate = (audio["waveform"], audio["sample_rate"]) if audio else (None, 0)
        return io.NodeOutput(audio_to_sound(waveform, rate))


class CMPrepareVoices(io.ComfyNode):
    """One or two voices as MultiTalk hears them, and the sound of the result.

    Core's WanInfiniteTalkToVideo puts features one after the other, filled with zero features; here silence is sound
    that the encoder hears, and each voice has its loudness.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMPrepareVoices",
            display_name="Prepare Voices",
            category=CATEGORY,
            description="Brings each voice to mono, 16 kHz and the loudness the model was trained with, and puts two "
            "in their order. The result's sound has the recordings as they are.",
            inputs=[
                SOUND.Input("voice_1", tooltip="What person 1 says."),
                SOUND.Input("voice_2", optional=True, tooltip="What person 2 says; nothing for one speaker."),
                io.Combo.Input(
                    "audio_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="one_after_another: person 2 begins where person 1 ends. together: both begin at once, "
                    "and the shorter one is followed by silence.",
                ),
                io.Float.Input(
                    "loudness",
                    default=LOUDNESS,
                    min=-60.0,
                    max=0.0,
                    step=0.5,
                    tooltip="Of each voice as the model hears it, LUFS (ITU-R BS.1770); 0 leaves it as recorded. "
                    "The result's sound is not changed.",
                ),
                io.Boolean.Input(
                    "trim_silence",
                    default=False,
                    tooltip="Cut silence before the first and after the last word: what is more than 40 dB under the "
                    "loudest 0.02 s, but for 0.1 s at each side. Pauses stay.",
                ),
            ],
            outputs=[
                VOICES.Output(display_name="voices"),
                SOUND.Output(display_name="sound", tooltip="Of the result: one source as it is, or both mixed."),
                io.Int.Output(display_name="num_frames", tooltip="Whole frames of the voices at 25 a second."),
            ],
        )

    @classmethod
    def execute(
        cls, voice_1: Sound, audio_order: str, loudness: float, trim_silence: bool, voice_2: Sound | None = None
    ) -> io.NodeOutput:
        sounds = [voice_1] if voice_2 is None else [voice_1, voice_2]
        voices, placed = prepare_voices(sounds, audio_order, loudness, trim_silence)
        return io.NodeOutput(voices, result_sound(placed, len(voices.speech[0])), voices.num_frames)


NODES: list[type[io.ComfyNode]] = [CMLoadSound, CMAudioToSound, CMPrepareVoices]
