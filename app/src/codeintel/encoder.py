"""Turn text into vectors with a MiniLM-style BERT encoder, in numpy alone.

Needs the packages of `codeintel[semantic]`; see `semantic.unavailable`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from math import pi, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from codeintel.errors import CodeintelError

MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""The files of a model folder that decide what its vectors are; no other one is read."""

MAX_TOKENS = 128
"""What a text is cut to: as long as the texts were that MiniLM's sentence models learnt from."""

# Far more than hold MAX_TOKENS of code; all of a minified file would take seconds and 100 MB.
_MAX_CHARACTERS = 8192

_ARCHITECTURE = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Encoder:
    """A loaded model.

    `digest` is that of `model_digest`: vectors of another model must never be compared with
    these. `dimension` is the length of a vector.
    """

    digest: str
    dimension: int
    _heads: int
    _layers: int
    _epsilon: float
    _tokenizer: Tokenizer
    _tensors: Mapping[str, Floats]

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Load the model in `folder`.

        Raises CodeintelError if a file is missing or damaged, or it is no BERT encoder.
        """
        digest = model_digest(folder)
        try:
            config = {"position_embedding_type": "absolute"}
            config |= json.loads((folder / "config.json").read_bytes())
            for key, expected in _ARCHITECTURE.items():
                if config[key] != expected:
                    raise ValueError(f"its {key} is {config[key]!r}, not {expected!r}")
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.enable_truncation(min(MAX_TOKENS, int(config["max_position_embeddings"])))
            encoder = cls(
                digest=digest,
                dimension=int(config["hidden_size"]),
                _heads=int(config["num_attention_heads"]),
                _layers=int(config["num_hidden_layers"]),
                _epsilon=float(config["layer_norm_eps"]),
                _tokenizer=tokenizer,
                _tensors=_tensors(folder / "model.safetensors"),
            )
            encoder.encode(["shapes that do not fit each other show here"])
        except Exception as error:  # tokenizers raises no narrower type
            raise CodeintelError(
                f"{folder} cannot be used as a model: {type(error).__name__}: {error}; "
                "give the folder of a BERT sentence encoder such as all-MiniLM-L6-v2"
            ) from error
        return encoder

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return one unit vector for each text, (texts, dimension)."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        # One by one, a text needs no padding, and the matrices are large enough to be fast.
        for row, text in enumerate(texts):
            # The tokenizer refuses half a surrogate pair, which JSON can bring.
            sound = text[:_MAX_CHARACTERS].encode(errors="replace").decode()
            pooled = self._forward(self._tokenizer.encode(sound).ids).mean(axis=0)
            vectors[row] = pooled / np.linalg.norm(pooled)
        return vectors

    def _forward(self, ids: list[int]) -> Floats:
        """Return the last hidden state, (tokens, dimension)."""
        words = self._tensors["embeddings.word_embeddings.weight"][ids]
        positions = self._tensors["embeddings.position_embeddings.weight"][: len(ids)]
        kind = self._tensors["embeddings.token_type_embeddings.weight"][0]
        x = self._norm("embeddings.LayerNorm", words + positions + kind)
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            attended = self._attend(f"{layer}.attention.self", x)
            x = self._norm(
                f"{layer}.attention.output.LayerNorm",
                x + self._linear(f"{layer}.attention.output.dense", attended),
            )
            inner = _gelu(self._linear(f"{layer}.intermediate.dense", x))
            x = self._norm(
                f"{layer}.output.LayerNorm", x + self._linear(f"{layer}.output.dense", inner)
            )
        return x

    def _attend(self, name: str, x: Floats) -> Floats:
        """Return what the tokens of one text take from each other, in the shape of `x`."""
        tokens, width = x.shape
        query, key, value = (
            self._linear(f"{name}.{part}", x).reshape(tokens, self._heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores: Floats = query @ key.transpose(0, 2, 1)  # (heads, tokens, tokens)
        scores /= sqrt(width / self._heads)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=2, keepdims=True)
        attended: Floats = (scores @ value).transpose(1, 0, 2).reshape(tokens, width)
        return attended

    def _linear(self, name: str, x: Floats) -> Floats:
        y: Floats = x @ self._tensors[f"{name}.weight"]
        y += self._tensors[f"{name}.bias"]
        return y

    def _norm(self, name: str, x: Floats) -> Floats:
        """Normalise `x` in place, and return it."""
        x -= x.mean(axis=1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + self._epsilon)
        x *= self._tensors[f"{name}.weight"]
        x += self._tensors[f"{name}.bias"]
        return x


def model_digest(folder: Path) -> str:
    """Return the SHA-256, in hex, over the names and contents of the model files in `folder`.

    Raises CodeintelError if one is missing.
    """
    lines = []
    for name in MODEL_FILES:
        try:
            with (folder / name).open("rb") as file:
                lines.append(f"{file_digest(file, 'sha256').hexdigest()}  {name}\n")
        except OSError as error:
            raise CodeintelError(
                f"the model folder {folder} has no readable {name}: {error.strerror}; "
                f"it needs {', '.join(MODEL_FILES)}"
            ) from error
    return sha256("".join(lines).encode()).hexdigest()


def _tensors(file: Path) -> dict[str, Floats]:
    tensors = {}
    for name, tensor in load_file(file).items():
        # The encoder's matrices as (inputs, outputs) make a query of few tokens up to 40 % faster.
        usable = np.ascontiguousarray(tensor.T if name.startswith("encoder.") else tensor)
        tensors[name] = usable.astype(np.float32, copy=False)
    return tensors


def _gelu(x: Floats) -> Floats:
    # The usual approximation with tanh: numpy has no erf, and one made of exp costs 20 % of all.
    inner = np.tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x))
    inner += 1
    inner *= x
    inner *= 0.5
    return inner
