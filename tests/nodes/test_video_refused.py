"""reader.py and index.py on files that cannot be read: refused with a code and the second, before or while decoding."""

import numpy as np

from .video_reading import B_FRAMES, all_numbers, frames_of, refusal
from .video_samples import numbered_video, numbers_in


def test_a_text_file_named_mp4(tmp_path):
    path = tmp_path / "page.mp4"
    path.write_text("<html><body>not found</body></html>" * 100)
    error = refusal(lambda: frames_of(path))
    assert error.code == "video_unreadable"
    assert "page.mp4" in error.message
    assert str(tmp_path) not in str(error)


def test_a_playlist_named_mp4_is_not_followed(tmp_path):
    numbered_video(tmp_path / "secret.ts", 10)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        assert refusal(lambda name=name: frames_of(tmp_path / name)).code == "video_unreadable"


def test_an_empty_and_a_missing_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    for name in ("empty.mp4", "missing.mp4"):
        assert refusal(lambda name=name: frames_of(tmp_path / name)).code == "video_unreadable"


def test_sound_alone_is_no_video(tmp_path):
    import av

    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        track = output.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    assert "no pictures" in refusal(lambda: frames_of(tmp_path / "song.mp4")).message


def test_a_cut_off_file_says_at_which_second(tmp_path):
    """The index in front promises 72 frames, the data ends earlier."""
    how = {"options": B_FRAMES, "sound": np.zeros((1, 3 * 44100), np.float32)}
    whole = numbered_video(tmp_path / "whole.mp4", 72, 640, 360, **how)
    front = tmp_path / "front.mp4"
    _index_to_front(whole, front)
    data = front.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    error = refusal(lambda: frames_of(tmp_path / "cut.mp4"))
    assert error.code == "video_unreadable"
    second = float(error.message.split("at second ")[1].split(":")[0])
    assert 0.5 < second < 2.9
    (tmp_path / "headless.mp4").write_bytes(whole.read_bytes()[: len(data) // 2])
    assert refusal(lambda: frames_of(tmp_path / "headless.mp4")).code == "video_unreadable"


def test_damage_in_the_middle_is_found_while_decoding(tmp_path):
    """The file's structure is whole, its pictures from the middle on are not."""
    path = numbered_video(tmp_path / "damaged.mp4", 48, options={"crf": "1", "preset": "ultrafast", "g": "1"})
    data = bytearray(path.read_bytes())
    packets = _packet_places(path)
    for at, size in packets[24:30]:
        data[at + 4 : at + size] = bytes(size - 4)
    path.write_bytes(data)
    frames = frames_of(path)
    error = refusal(lambda: all_numbers(frames))
    assert error.code == "video_unreadable"
    assert 0.9 < float(error.message.split("at second ")[1].split(":")[0]) < 1.3
    assert numbers_in(frames.read(0, 20)) == list(range(20))


def test_one_frame_is_too_short(tmp_path):
    path = numbered_video(tmp_path / "one.mp4", 1)
    assert refusal(lambda: frames_of(path)).code == "video_too_short"


def _index_to_front(source, target):
    import av

    with av.open(str(source)) as old, av.open(str(target), "w", options={"movflags": "faststart"}) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)


def _packet_places(path) -> list[tuple[int, int]]:
    import av

    with av.open(str(path)) as source:
        return [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
