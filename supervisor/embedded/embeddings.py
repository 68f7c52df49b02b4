"""Embeddings without a model: words hashed into a vector, the same text the same vector.

Pure, used by model_server.py, so that a crew with `memory=True` or knowledge runs offline.
Texts that share words lie near each other; meaning beyond words is not found.
"""

import base64
import math
import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from supervisor.embedded.texts import words
from supervisor.embedded.wire import MODEL, BadRequest, tokens

DIMENSIONS = 1536
DIMENSIONS_LARGE = 3072
MOST_INPUTS = 2048
MOST_CHARS = 100_000


def embeddings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of an answer to POST /v1/embeddings. Raises BadRequest."""
    texts = _inputs(data.get("input"))
    is_large = "large" in str(data.get("model", ""))
    wanted = data.get("dimensions")
    is_given = isinstance(wanted, int) and 1 <= wanted <= DIMENSIONS_LARGE
    size = wanted if is_given else DIMENSIONS_LARGE if is_large else DIMENSIONS
    is_packed = data.get("encoding_format") == "base64"
    parts = []
    for index, text in enumerate(texts):
        vector = vector_of(text, int(size or DIMENSIONS))
        value = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        part = {"object": "embedding", "index": index}
        parts.append(part | {"embedding": value if is_packed else vector})
    count = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": parts, "model": MODEL, "usage": usage}


def vector_of(text: str, size: int) -> list[float]:
    """Return the unit vector of a text."""
    vector = [0.0] * size
    # The empty word is in every text, so that no text has the length zero.
    for word in sorted(words(text[:MOST_CHARS]) | {""}):
        mark = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())
        vector[mark % size] += 1.0 if mark >> 63 else -1.0
    length = math.sqrt(sum(part * part for part in vector)) or 1.0
    return [part / length for part in vector]


def _inputs(value: Any) -> list[str]:
    """Return the texts to embed; lists of token numbers stand for themselves."""
    if isinstance(value, list) and value and all(isinstance(part, int) for part in value):
        value = [value]
    parts = value if isinstance(value, list) else [value]
    if not parts or len(parts) > MOST_INPUTS:
        raise BadRequest(f"input must hold 1 to {MOST_INPUTS} texts.", "input")
    if not all(isinstance(part, str | list) for part in parts):
        raise BadRequest("input must be a string, a list of strings or of tokens.", "input")
    return [part if isinstance(part, str) else " ".join(map(str, part)) for part in parts]
