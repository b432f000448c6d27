"""The requests, tables and answers of seeds/001 (segment, animate), seeds/002 (i2v) and seeds/003 (multitalk), as the
documents have them.

The texts are in seed_texts.py, word for word; only values that stand for something ("...", "<base64 encoded image>")
are filled in here.
"""

import base64
import json
import re
from types import SimpleNamespace

import pytest
from PIL import Image

from worker.delivery import Delivered
from worker.finished import Report
from worker.guard import GuardedFetcher
from worker.host import Worker
from worker.media import Inputs, SoundInfo, fetch_audio, fetch_image
from worker.operations import Results, load_operations
from worker.redact import Redactor, secrets_of

from .asking import STORE, Asked, picture, settings
from .seed_texts import (
    ANIMATE_INPUT,
    ANIMATE_OUTPUT,
    ANIMATE_TABLE,
    I2V_INPUT,
    I2V_OUTPUT,
    I2V_OUTPUT_WITH_R2,
    I2V_TABLE,
    MULTITALK_OUTPUT,
    MULTITALK_OUTPUT_WITH_STORE,
    MULTITALK_PARAMETERS,
    MULTITALK_REQUEST,
    SEGMENT_INPUT,
    SEGMENT_OUTPUT,
    SEGMENT_TABLE,
)
from .small_sounds import tone, write_sound

DOCUMENTS = {
    "segment": (SEGMENT_INPUT, SEGMENT_TABLE),
    "animate": (ANIMATE_INPUT, ANIMATE_TABLE),
    "i2v": (I2V_INPUT, I2V_TABLE),
}
OF_THE_WORKER = {"success", "seed", "num_frames", "fps", "video_size_bytes"}
"""Documented fields that jobs.py puts into every answer that has a seed or a video (tests/worker/test_jobs*.py)."""
SAID = {"Save masks": {"masks": [{"score": 0.98, "bbox": [100, 150, 400, 600]}]}}
OPERATIONS = load_operations()


def example(name):
    """The document's `input`, with values where it has placeholders."""
    fields = json.loads(DOCUMENTS[name][0])["input"]
    if "image_base64" in fields:
        fields["image_base64"] = "iVBORw0KGgo="
    if "r2" in fields:
        fields["r2"] = {key: STORE[key] for key in fields["r2"]}
    return fields


def asked(name):
    return Asked(OPERATIONS[name], {key: value for key, value in example(name).items() if key != "operation"})


def rows(name):
    """[{column: cell}] of the document's table."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in DOCUMENTS[name][1].strip().split("\n")]
    found = [dict(zip((cell.strip() for cell in lines[0]), line, strict=True)) for line in lines[2:]]
    return [{**row, "Parameter": row["Parameter"].strip("` ")} for row in found]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documents_request_is_accepted(name):
    request = asked(name).parse()
    for field, value in example(name).items():
        if field == "r2":
            assert request.r2.as_dict() == STORE
        elif field != "operation":
            assert getattr(request, field) == value
    OPERATIONS[name].check()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_documented_field_is_one_of_the_request(name):
    documented = {row["Parameter"] for row in rows(name)} - {"operation"}
    assert documented <= set(OPERATIONS[name].request.model_fields)
    assert set(example(name)) - {"operation"} <= documented


DEFAULTS = [
    (name, row["Parameter"], row.get("Default", "-"))
    for name in DOCUMENTS
    for row in rows(name)
    if row["Required"] == "No"
]


@pytest.mark.parametrize(("name", "field", "default"), DEFAULTS)
def test_the_documents_defaults(name, field, default):
    first, second = (getattr(asked(name).parse(**{field: "absent"}), field) for _ in range(2))
    if default == "random":
        assert first != second
        return
    wanted = None if default == "-" else json.loads(default)
    assert first == second == wanted
    assert type(first) is type(wanted) or isinstance(first, float)


REQUIRED = [
    (name, row["Parameter"]) for name in DOCUMENTS for row in rows(name) if row["Required"] in ("Yes", "One of")
]


@pytest.mark.parametrize(("name", "field"), [pair for pair in REQUIRED if pair[1] not in ("operation", "points")])
def test_what_the_documents_require_is_missed(name, field):
    assert asked(name).refused(**{field: "absent"}).code == "missing_field"


def documented(*texts):
    """The keys of answers, on their first level."""
    return {key for text in texts for key in re.findall(r'^    "(\w+)":', text, re.MULTILINE)}


def test_i2v_answers_the_documents_fields():
    without, with_r2 = (asked("i2v").answer(stored) for stored in (False, True))
    assert set(without) == documented(I2V_OUTPUT) - OF_THE_WORKER
    assert set(with_r2) == documented(I2V_OUTPUT, I2V_OUTPUT_WITH_R2) - OF_THE_WORKER
    example_answer = json.loads(re.sub(r",\s+\.\.\.", "", I2V_OUTPUT_WITH_R2))
    for field in ("video_r2_key", "last_frame_r2_key"):
        assert with_r2[field] == example_answer[field]
    assert with_r2["resolution"] == json.loads(I2V_OUTPUT)["resolution"]
    assert with_r2["inference_time_ms"] == 35000
    assert isinstance(with_r2["inference_time_ms"], int)
    assert with_r2["video_url"].startswith("https://")


def test_animate_answers_the_documents_fields():
    with_store, without = (asked("animate").answer(stored) for stored in (True, False))
    own = documented(ANIMATE_OUTPUT) - {"success"}
    assert set(with_store) == own | {"output_key"}
    assert set(without) == (own - {"output_url"}) | {"video_base64"}
    assert with_store["output_key"] == "animate/results/abc123.mp4"
    wanted = json.loads(ANIMATE_OUTPUT)
    for field in ("original_size", "processed_size", "num_frames", "fps", "motion_bucket_id"):
        assert with_store[field] == wanted[field]
        assert type(with_store[field]) is type(wanted[field])
    assert isinstance(with_store["processing_time_seconds"], float)


def test_segment_answers_the_documents_fields():
    with_store, without = (asked("segment").answer(stored, SAID) for stored in (True, False))
    wanted = json.loads(SEGMENT_OUTPUT)
    for answer in (with_store, without):
        assert set(answer) == set(wanted) - {"success"}
        assert (answer["mask_count"], answer["image_size"]) == (wanted["mask_count"], wanted["image_size"])
    assert set(with_store["masks"][0]) == set(wanted["masks"][0])
    assert set(without["masks"][0]) == {"png_base64", "score", "bbox"}
    for field in ("score", "bbox"):
        assert with_store["masks"][0][field] == without["masks"][0][field] == wanted["masks"][0][field]


def test_an_endpoint_of_one_model_takes_its_documents_request_as_it_is(tmp_path):
    worker = Worker(settings(default_operation="i2v", work_path=tmp_path), SimpleNamespace(base_directory=tmp_path))
    assert "operation" not in example("i2v")
    assert worker.operation(example("i2v")).name == "i2v"
    for name in ("segment", "animate"):
        assert worker.operation(example(name)).name == name
    assert set(worker.operations) >= {"avatar", *DOCUMENTS}


@pytest.mark.parametrize("name", ["segment", "i2v"])
def test_no_key_of_the_documents_store_is_shown(name):
    request = asked(name).parse()
    hidden = {STORE["access_key_id"], STORE["secret_access_key"]}
    assert set(secrets_of(example(name))) >= hidden, "the worker's redaction knows them, too"
    prompt = OPERATIONS[name].bind(request, {"image": "i"}, {"image": picture()}, "x").prompt
    for text in (repr(request), str(request.model_dump()), request.model_dump_json(), json.dumps(prompt)):
        assert not [secret for secret in hidden if secret in text]
    assert Redactor(secrets_of(example(name))).text(STORE["secret_access_key"]) == "***"


@pytest.fixture
def multitalk_input(tmp_path, monkeypatch):
    """The `input` that the document's own code makes of two files."""
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((640, 360), 80).convert("RGB").save("reference_image.jpg")
    write_sound(tmp_path / "audio1.wav", tone(44100 * 5, 44100), 44100)
    made = {"base64": base64}
    exec(MULTITALK_REQUEST, made)
    return made["request_data"]["input"]


async def test_the_multitalk_documents_request_word_for_word(multitalk_input, tmp_path):
    operation = OPERATIONS["multitalk"]
    request = operation.parse(multitalk_input, settings())
    wanted = operation.wanted(request)
    inputs = Inputs(None, GuardedFetcher(), 10, 10**6, 10**6, 10**6, 180)
    infos = {
        "image": await fetch_image(wanted["image"].source, tmp_path / "in" / "image", inputs, wanted["image"].min_side),
        "audio_1": await fetch_audio(wanted["audio_1"].source, tmp_path / "in" / "audio_1", inputs),
    }
    assert (tmp_path / "in" / "image").read_bytes() == (tmp_path / "reference_image.jpg").read_bytes()
    assert (tmp_path / "in" / "audio_1").read_bytes() == (tmp_path / "audio1.wav").read_bytes()
    expected = operation.expected(request, infos)
    assert (expected.width, expected.height, expected.fps, expected.num_frames) == (832, 464, 8.0, 40)
    prompt = operation.bind(request, {role: role for role in infos}, infos, "x").prompt
    graph = {node["_meta"]["title"]: node["inputs"] for node in prompt.values()}
    talk = {"seed": 42, "guidance_scale": 7.5, "num_frames": 97}
    assert graph["Talk"].items() >= talk.items()
    assert graph["Schedule"]["steps"] == multitalk_input["sampling_steps"]
    assert graph["Prompt"]["text"] == multitalk_input["prompt"]


MULTITALK_FIELDS = re.findall(
    r"^- `(\w+)` \((required|optional)\): .*?(?:\((.*)\))?$", MULTITALK_PARAMETERS, re.MULTILINE
)


def test_the_multitalk_documents_parameters():
    assert len(MULTITALK_FIELDS) == 10
    good = {"reference_image": "aGk=", "audio_1": "aGk=", "prompt": "p"}
    asked = Asked(OPERATIONS["multitalk"], good)
    for name, need, rule in MULTITALK_FIELDS:
        if need == "required":
            error = asked.refused(**{name: "absent"})
            assert (error.code, error.field) == ("missing_field", name)
        elif found := re.search(r"default: ([\w.]+)", rule):
            assert getattr(asked.parse(), name) == json.loads(found[1])
        else:
            assert getattr(asked.parse(), name) is None
        if found := re.search(r"range: (\d+)-(\d+)", rule):
            assert [getattr(asked.parse(**{name: int(end)}), name) for end in found.groups()] == [2, 100]
    assert asked.parse(num_frames=201).num_frames == 201
    assert asked.refused(num_frames=202).field == "num_frames"


def test_multitalk_answers_the_documents_field(multitalk_input):
    operation = OPERATIONS["multitalk"]
    request = operation.parse(multitalk_input, settings())
    sound = SoundInfo(16000 * 5, 16000, 1, 5.0, -20.0)
    for stored, text in ((True, MULTITALK_OUTPUT_WITH_STORE), (False, MULTITALK_OUTPUT)):
        file = Delivered(3, "key", "https://store/key") if stored else Delivered(3, base64="Zm9v")
        files = {key: [file] for key in operation.outputs(request, "abc123")}
        answer = operation.answer(request, Results({"audio_1": sound}, files, Report(), {}, 45.2, 35.0))
        assert {name for name in ("video_url", "video_base64") if answer[name]} == set(json.loads(text))
