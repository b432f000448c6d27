"""reader.py gives the colours that were filmed, whatever matrix and range the file has."""

import numpy as np

from .video_reading import frames_of


def test_colours_by_tag_and_by_size(tmp_path):
    """Saturated colours through BT.601 and BT.709, limited and full: within 3 of 255 of what went in."""
    colours = np.array([[200, 40, 40], [40, 180, 60], [30, 60, 210], [128, 128, 128]], np.uint8)

    def seen(name, height, width, matrix, full, tag):
        picture = np.repeat(np.repeat(colours[None], height, 0), width // 4, 1)
        path = tmp_path / name
        _write_with_matrix(path, picture, matrix, full, tag)
        image = frames_of(path, (width, height)).read(0, 1)[0].numpy()
        return image[height // 2, width // 8 :: width // 4].astype(int)

    for name, height, width, matrix, full, tag in (
        ("hd_untagged.mp4", 720, 1280, 1, False, False),
        ("sd_untagged.mp4", 480, 640, 5, False, False),
        ("sd_tagged_709.mp4", 480, 640, 1, False, True),
        ("hd_tagged_601.mp4", 720, 1280, 5, False, True),
        ("full_range.mp4", 480, 640, 5, True, True),
    ):
        assert np.abs(seen(name, height, width, matrix, full, tag) - colours).max() <= 3, name


def _write_with_matrix(path, picture, matrix, full, tag):
    """Two frames in YUV by a matrix computed here (1 = BT.709, 5 = BT.601), so that swscale is not judge of itself."""
    import av

    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114)}[matrix]
    rgb = picture.astype(float) / 255
    luma = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    chroma = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    scale, offset, swing = (255, 0, 255) if full else (219, 16, 224)
    planes = [luma * scale + offset, *(c[::2, ::2] * swing + 128 for c in chroma)]
    flat = np.concatenate([np.round(p).astype(np.uint8).reshape(-1) for p in planes])
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"qp": "1", "preset": "ultrafast"}
        if tag:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        for i in range(2):
            frame = av.VideoFrame.from_ndarray(flat.reshape(-1, picture.shape[1]), format="yuv420p")
            frame.pts = i
            if tag:
                frame.colorspace, frame.color_range = matrix, 2 if full else 1
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
