"""Words of a command line are files, folders and patterns; each picture is taken once."""

from pathlib import Path

import pytest

from pipeline.prediction.inputs import inputs_of


def test_words_are_files_folders_and_patterns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.jpg",
        "odd[1].jpg",
        "in/a.jpg",
        "in/deep/b.png",
        "in/.hidden/c.jpg",
        "out/a.png",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")

    def names(*words: str) -> list[tuple[str, str]]:
        return [(str(path), str(name)) for path, name in inputs_of(words, Path("out"))]

    assert names("a.jpg", "in", "in/a.jpg") == [
        ("a.jpg", "a.jpg"),
        ("in/a.jpg", "a.jpg-2"),
        ("in/deep/b.png", "deep/b.png"),
    ]
    assert names("*.jpg") == [("a.jpg", "a.jpg"), ("odd[1].jpg", "odd[1].jpg")]
    assert names("odd[1].jpg") == [("odd[1].jpg", "odd[1].jpg")]
    assert names("**/*.png") == [("in/deep/b.png", "b.png")]
    assert names("out", "none.jpg", "*.gif") == [("none.jpg", "none.jpg"), ("*.gif", "*.gif")]
    assert len(names(".")) == 4
