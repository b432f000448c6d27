"""The node that lets the audio encoder hear the voices."""

from comfy_api.latest import io

from ..talk.features import NORMALIZE, encode_voices
from .progress import progress
from .talk_types import VOICE_FEATURES, VOICES


class EncodeVoices(io.ComfyNode):
    """Core's AudioEncoderEncode runs the transformer on 49.9 steps a second and keeps every layer in memory; this one
    runs it on 25, as MultiTalk was trained, and writes the layers to disk."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="CMEncodeVoices",
            display_name="Encode Voices",
            category="comfy-motion/multitalk",
            description="What wav2vec2 hears in each voice, 25 steps a second, by MultiTalk's published rules. "
            "Kept on disk: memory does not grow with the length of the sound.",
            inputs=[
                io.AudioEncoder.Input(
                    "audio_encoder", lazy=True, tooltip="Of Load Audio Encoder: wav2vec2-chinese-base for MultiTalk."
                ),
                VOICES.Input("voices", tooltip="Of Prepare Voices: one or two, of one length."),
                io.Combo.Input(
                    "normalize",
                    options=list(NORMALIZE),
                    default="auto",
                    tooltip="Bring each voice to mean 0 and variance 1 before the encoder hears it. auto: off for the "
                    "base encoder, on for the large one, as ComfyUI has them.",
                ),
            ],
            outputs=[VOICE_FEATURES.Output(display_name="voice_features")],
        )

    @classmethod
    def check_lazy_status(cls, audio_encoder=None, **_) -> list[str]:
        # By now the voices are there: a sound without a voice was refused before the encoder's file was opened.
        return ["audio_encoder"] if audio_encoder is None else []

    @classmethod
    def execute(cls, audio_encoder, voices, normalize) -> io.NodeOutput:
        return io.NodeOutput(encode_voices(audio_encoder, voices, normalize, progress()))


NODES = [EncodeVoices]
