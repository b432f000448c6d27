"""The flags made from request classes: none is missing, and each one says and does what its field asks for."""

import argparse
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import run
from cli.arguments import Local, add_flags, flags_of, given_by, meant_by, spelled_with_hyphens
from cli.values import Media
from worker.operations import load_operations

R2_VARIABLES = {
    "R2_ENDPOINT_URL": "https://store.example.com",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "hush",
    "R2_BUCKET_NAME": "mine",
}


class Store(BaseModel):
    endpoint_url: str
    access_key_id: SecretStr
    secret_access_key: SecretStr
    bucket_name: str


class Scene(BaseModel):
    prompt: str


class Sample(BaseModel):
    """One field of every kind."""

    model_config = ConfigDict(extra="forbid", strict=True)

    face: str | None = Field(None, description="the face: its address, or as base64")
    face_url: str | None = None
    video: str | None = Field(None, description="the dance: its address")
    video_url: str | None = None
    video_minio_path: str | None = None
    mask_base64: str | None = None
    mask_minio_path: str | None = None
    image_base64: str | None = Field(None, description="the picture as base64 (PNG)")
    image_url: str | None = None
    image_minio_path: str | None = None
    driving_video_path: str | None = None
    driving_video_url: str | None = None
    prompt: str = Field(description="what happens, at 100 %")
    negative_prompt: str = "abc " * 50
    num_frames: Annotated[int, Field(ge=5, le=161)] = 81
    guidance_scale: float | None = Field(None, description="1 to 20, no less", ge=1, le=20)
    mode: Literal["replace", "animate"] = "replace"
    turbo: bool = False
    presign: bool = True
    scenes: list[Scene] | None = None
    bboxes: list[list[float]] | None = None
    points: list[list[float]] | None = None
    point_labels: list[int] | None = None
    r2: Store | None = None
    seed: int = Field(default_factory=lambda: 1, ge=0, lt=2**63)


def parse(*arguments: str, request: Any = Sample, environ: dict[str, str] | None = None):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags = flags_of(request)
    add_flags(parser, flags)
    return given_by(parser.parse_args(spelled_with_hyphens(arguments)), flags, environ or {})


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def help_text(request: Any = Sample) -> str:
    parser = argparse.ArgumentParser()
    add_flags(parser, flags_of(request))
    return " ".join(parser.format_help().split())


@pytest.mark.parametrize("request_class", [Sample, *(one.request for one in load_operations().values())])
def test_every_field_has_a_flag_and_every_flag_a_field(request_class):
    flags = flags_of(request_class)
    assert {field for flag in flags for field in flag.fields} == set(request_class.model_fields)
    names = [name for flag in flags for name in flag.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(load_operations()))
def test_the_help_of_every_operation_can_be_asked_for(name, capsys):
    with pytest.raises(SystemExit) as ended:
        run.main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "the request:" in said
    assert "--endpoint" in said


def test_only_what_is_given_is_in_the_request():
    assert parse().fields == {}
    assert parse("--seed", "5").fields == {"seed": 5}


def test_fields_by_both_spellings():
    for flags in (("--num-frames", "9", "--guidance-scale=2.5"), ("--num_frames", "9", "--guidance_scale=2.5")):
        assert parse(*flags).fields == {"num_frames": 9, "guidance_scale": 2.5}
    assert parse("--prompt", "a_b --c_d", "--negative_prompt=--e_f").fields == {
        "prompt": "a_b --c_d",
        "negative_prompt": "--e_f",
    }


def test_switches_and_choices(capsys):
    assert parse("--turbo", "--no-presign", "--mode", "animate").fields == {
        "turbo": True,
        "presign": False,
        "mode": "animate",
    }
    assert "--mode" in refused(capsys, "--mode", "restore")
    assert "--num-frames: invalid int value: '8.5'" in refused(capsys, "--num-frames", "8.5")


def test_a_picture_by_file_address_and_key(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"png")
    given = parse("--image", str(file))
    assert (given.fields, given.files, given.locals) == ({}, {"image_base64": file}, [])
    assert parse("--image", "HTTPS://x/a.png").fields == {"image_url": "HTTPS://x/a.png"}
    assert parse("--image", "minio:in/a.png").fields == {"image_minio_path": "in/a.png"}


def test_a_bare_field_is_of_the_same_flag(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"?")
    assert parse("--face", str(file)).files == {"face": file}
    assert parse("--face", "https://x/a").fields == {"face_url": "https://x/a"}
    given = parse("--video", str(file))  # never as base64
    assert (given.fields, given.files) == ({}, {})
    assert given.locals == [Local(file, {"url": "video_url", "key": "video_minio_path"})]
    fields = {flag.names[0]: flag.fields for flag in flags_of(Sample)}
    assert fields["video"] == ("video", "video_url", "video_minio_path")
    assert "the dance; a file of this machine, or an http(s) URL, or minio:KEY" in help_text()


def test_a_file_without_a_field_for_base64_goes_another_way(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"mp4")
    given = parse("--driving-video", str(file))
    assert (given.fields, given.files) == ({}, {})
    assert given.locals == [Local(file, {"key": "driving_video_path", "url": "driving_video_url"})]


def test_a_form_that_no_field_takes_is_refused(capsys):
    said = refused(capsys, "--mask", "https://x/a.png")
    for words in ("--mask", "is an http(s) URL", "a file of this machine or minio:KEY"):
        assert words in said


def test_the_last_word_of_a_name_is_enough_where_it_is_alone():
    avatar = load_operations()["avatar"].request
    assert parse("--video", "minio:a.mp4", request=avatar).fields == {"driving_video_path": "a.mp4"}
    assert parse("--video", "http://x/a.mp4", request=avatar).fields == {"driving_video_url": "http://x/a.mp4"}


def test_a_file_that_is_not_there_is_told(capsys):
    said = refused(capsys, "--image", "in/person.png")
    assert "--image" in said
    assert "there is no file 'in/person.png'" in said
    assert "minio:KEY" in said


def test_nested_fields_as_text_and_as_a_file(tmp_path, capsys):
    scenes = [{"prompt": "é"}]
    (tmp_path / "scenes.json").write_text(json.dumps(scenes, ensure_ascii=False), encoding="utf-8")
    assert parse("--scenes", json.dumps(scenes)).fields == {"scenes": scenes}
    assert parse("--scenes", f"@{tmp_path}/scenes.json").fields == {"scenes": scenes}
    assert "--scenes: the text is no JSON: Expecting" in refused(capsys, "--scenes", "[{]")
    assert "no.json cannot be read" in refused(capsys, "--scenes", "@no.json")


def test_a_store_comes_from_the_environment(tmp_path):
    everything = {name.removeprefix("R2_").lower(): value for name, value in R2_VARIABLES.items()}
    assert parse("--r2", environ=R2_VARIABLES).fields == {"r2": everything}
    assert "r2" not in parse(environ=R2_VARIABLES).fields
    other = parse("--r2", '{"bucket_name": "other"}', environ=R2_VARIABLES).fields["r2"]
    assert other == {**everything, "bucket_name": "other"}
    (tmp_path / "r2.json").write_text(json.dumps(everything))
    assert parse("--r2", f"@{tmp_path}/r2.json").fields == {"r2": everything}
    with pytest.raises(ValueError, match=r"--r2: the environment has no R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY$"):
        parse("--r2", '{"endpoint_url": "https://x", "bucket_name": "b"}')


def test_boxes_and_points_one_at_a_time(capsys):
    assert parse("--box", "1,2,3,4.5", "--box", "5,6,7,8").fields == {"bboxes": [[1, 2, 3, 4.5], [5, 6, 7, 8]]}
    assert parse("--bboxes", "[[1, 2, 3, 4]]").fields == {"bboxes": [[1, 2, 3, 4]]}
    points = parse("--point", "1,2", "--point", "3,4,0").fields
    assert points == {"points": [[1, 2], [3, 4]], "point_labels": [1, 0]}
    assert "--box: '1,2,3': 4 numbers" in refused(capsys, "--box", "1,2,3")
    assert "--point: '1': 2 or 3 numbers" in refused(capsys, "--point", "1")
    with pytest.raises(ValueError, match="--box and --bboxes say the same thing"):
        parse("--box", "1,2,3,4", "--bboxes", "[]")


def test_the_help_shows_rule_and_default_of_the_class():
    text = help_text()
    assert "num frames; 5 to 161 (default: 81)" in text
    assert "what happens, at 100 % (required)" in text
    assert "--turbo, --no-turbo turbo (default: false)" in text
    assert f'(default: "{"abc " * 14}...)' in text
    assert "the picture; a file of this machine, or an http(s) URL, or minio:KEY" in text
    assert "1 to 20, no less --mode" in text  # the rule is in the description: not again
    assert "R2_SECRET_ACCESS_KEY" in text
    assert "9223372036854775807" not in text


def test_a_misspelled_flag_is_understood(capsys):
    assert meant_by("--promt=x", ["--prompt", "--seed"]) == "--prompt"
    with pytest.raises(SystemExit):
        run.main(["avatar", "--startime", "3"])
    assert "--startime is no flag of avatar; did you mean --start-time?" in capsys.readouterr().err


def test_media_values_know_their_way():
    avatar = {flag.names[0]: flag for flag in flags_of(load_operations()["avatar"].request)}
    assert avatar["input-image"].ways == {"url": "input_image_url", "key": "input_image_minio_path"}
    assert avatar["input-image"].names == ("input-image", "image")
    assert avatar["input-image"].options["type"]("minio:a b.png") == Media("key", "a b.png")
