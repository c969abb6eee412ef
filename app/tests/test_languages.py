import pytest
from codeintel.languages import detect


@pytest.mark.parametrize(
    ("path", "content", "language"),
    [
        ("a/b.py", b"", "python"),
        ("B.PY", b"", "python"),
        ("x.tsx", b"", "tsx"),
        ("Dockerfile", b"", "dockerfile"),
        ("bin/tool", b"#!/usr/bin/env python3.11\n", "python"),
        ("bin/tool", b"#!/bin/bash -e\n", "bash"),
        ("bin/tool", b"#! /bin/sh", "bash"),
        ("bin/tool", b"#!\n", None),
        ("bin/tool", b"#!", None),
        ("c", b"", None),
        ("notes.unknown", b"text", None),
    ],
)
def test_the_language_of_a_file(path: str, content: bytes, language: str | None) -> None:
    assert detect(path, content) == language
