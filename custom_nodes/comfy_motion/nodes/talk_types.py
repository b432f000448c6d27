"""Socket types of the MultiTalk nodes."""

from __future__ import annotations

from comfy_api.latest import io

#: One or two voices of one length, 16 kHz mono: `talk.voices.Voices`.
VOICES = io.Custom("CM_VOICES")

#: What the audio encoder heard in each voice, 25 steps a second: `talk.features.VoiceFeatures`.
VOICE_FEATURES = io.Custom("CM_VOICE_FEATURES")

#: Where in the fitted picture each speaker is: `talk.speakers.Speakers`.
SPEAKERS = io.Custom("CM_SPEAKERS")
