"""Requests, tables and answers of seeds/001 (segment, animate), seeds/002 (i2v) and seeds/003 (multitalk), pasted word
for word."""

SEGMENT_INPUT = """
{
    "input": {
        "operation": "segment",
        "image_url": "https://example.com/frame.png",
        "bboxes": [[100, 150, 400, 600]],
        "r2": {
            "endpoint_url": "https://...",
            "access_key_id": "...",
            "secret_access_key": "...",
            "bucket_name": "..."
        }
    }
}
"""
SEGMENT_TABLE = """
| Parameter | Required | Description |
|-----------|----------|-------------|
| `operation` | Yes | Must be `"segment"` |
| `image_url` | Yes | Direct URL to image |
| `bboxes` | One of | List of `[x1, y1, x2, y2]` bounding boxes |
| `points` | One of | List of `[x, y]` points |
| `point_labels` | With points | `1` = foreground, `0` = background |
| `r2` | No | R2 config for result upload |
"""
SEGMENT_OUTPUT = """
{
    "success": true,
    "masks": [
        {
            "url": "https://...",
            "score": 0.98,
            "bbox": [100, 150, 400, 600]
        }
    ],
    "mask_count": 1,
    "image_size": [1920, 1080],
    "processing_time_seconds": 2.5
}
"""
ANIMATE_INPUT = """
{
    "input": {
        "operation": "animate",
        "image_url": "https://example.com/frame.png",
        "mask_url": "https://example.com/mask.png",
        "motion_bucket_id": 127,
        "noise_aug_strength": 0.02,
        "num_frames": 25,
        "fps": 6,
        "seed": 42
    }
}
"""
ANIMATE_TABLE = """
| Parameter | Required | Default | Description |
|-----------|----------|---------|-------------|
| `operation` | Yes | - | Must be `"animate"` |
| `image_url` | Yes | - | Direct URL to image |
| `mask_url` | No | - | Mask image (white = animate, black = static) |
| `motion_bucket_id` | No | 127 | Motion amount (1-255) |
| `noise_aug_strength` | No | 0.02 | Noise augmentation (0-1) |
| `num_frames` | No | 25 | Frames to generate |
| `fps` | No | 6 | Output video FPS |
| `seed` | No | random | Random seed for reproducibility |
| `r2` | No | - | R2 config for result upload |
"""
ANIMATE_OUTPUT = """
{
    "success": true,
    "output_url": "https://...",
    "original_size": [1920, 1080],
    "processed_size": [1024, 576],
    "num_frames": 25,
    "fps": 6,
    "motion_bucket_id": 127,
    "processing_time_seconds": 45.2
}
"""
I2V_INPUT = """
{
    "input": {
        "image_base64": "<base64 encoded image>",
        "prompt": "Person speaking naturally with subtle hand gestures",
        "negative_prompt": "blurry, distorted, static",
        "num_frames": 81,
        "num_inference_steps": 40,
        "guidance_scale": 5.0,
        "seed": 42,
        "fps": 16,
        "height": 480,
        "width": 832,
        "r2": {
            "endpoint_url": "https://...",
            "access_key_id": "...",
            "secret_access_key": "...",
            "bucket_name": "..."
        }
    }
}
"""
I2V_TABLE = """
| Parameter | Required | Default | Description |
|-----------|----------|---------|-------------|
| `image_base64` | Yes | - | Base64 encoded starting frame |
| `prompt` | Yes | - | Motion description |
| `negative_prompt` | No | "" | Things to avoid |
| `num_frames` | No | 81 | Frames to generate (~5 sec @ 16fps) |
| `num_inference_steps` | No | 40 | Diffusion steps |
| `guidance_scale` | No | 5.0 | CFG scale |
| `seed` | No | random | Random seed |
| `fps` | No | 16 | Output video FPS |
| `height` | No | 480 | Output height |
| `width` | No | 832 | Output width |
| `r2` | No | - | R2 config for result upload |
"""
I2V_OUTPUT = """
{
    "success": true,
    "video_base64": "<base64 encoded MP4>",
    "last_frame_base64": "<base64 encoded PNG>",
    "seed": 42,
    "inference_time_ms": 35000,
    "num_frames": 81,
    "fps": 16,
    "resolution": "832x480",
    "video_size_bytes": 524288
}
"""
I2V_OUTPUT_WITH_R2 = """
{
    "success": true,
    "video_base64": "<base64>",
    "video_url": "https://r2.example.com/...",
    "video_r2_key": "wan-i2v/results/abc123_video.mp4",
    "last_frame_url": "https://r2.example.com/...",
    "last_frame_r2_key": "wan-i2v/results/abc123_lastframe.png",
    ...
}
"""
MULTITALK_REQUEST = """
# Prepare request
with open("reference_image.jpg", "rb") as f:
    image_base64 = base64.b64encode(f.read()).decode()

with open("audio1.wav", "rb") as f:
    audio1_base64 = base64.b64encode(f.read()).decode()

request_data = {
    "input": {
        "reference_image": image_base64,
        "audio_1": audio1_base64,
        "prompt": "Two people having a friendly conversation",
        "num_frames": 100,
        "seed": 42,
        "sampling_steps": 20
    }
}

# Send request
"""
MULTITALK_PARAMETERS = """
- `reference_image` (required): Base64 encoded image or URL
- `audio_1` (required): Base64 encoded audio file or URL
- `audio_2` (optional): Second audio file for multi-person conversation
- `prompt` (required): Description of the conversation
- `num_frames` (optional): Number of frames to generate (default: 100, max: 201)
- `seed` (optional): Random seed for reproducibility (default: 42)
- `turbo` (optional): Enable turbo mode for faster generation (default: false)
- `sampling_steps` (optional): Number of sampling steps (default: 20, range: 2-100)
- `guidance_scale` (optional): Guidance scale for generation (default: 7.5)
- `fps` (optional): Frames per second for output video (default: 8)
"""
MULTITALK_OUTPUT_WITH_STORE = """
{
  "video_url": "https://s3.amazonaws.com/bucket/output.mp4"
}
"""
MULTITALK_OUTPUT = """
{
  "video_base64": "base64_encoded_video_data"
}
"""
