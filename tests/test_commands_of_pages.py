"""Every command that a page shows: read by bash and by zsh alike, and taken by the program itself.

A block that is indented, or fenced as `sh`, is commands and nothing else; so is a piece of text in
backticks that begins with a program. Both shells run them with stand-ins for all programs, which
write down the words that reach them. Those words are then read by the program's own parser, and
`--set` by the models of params.yaml; what a program of ours does with them, a test has that runs it.
"""

import re
import runpy
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers import PROJECT

from pipeline.params import Params, load

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    PROJECT / "UPGRADING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
OURS = ("python", "make", "dvc", "ray", "mlflow", "pip")
"""Programs of `.venv`, whose own parsers read what a page gives them."""
FOREIGN = {
    "aws",
    "base64",
    "convmv",
    "cp",
    "docker",
    "env",
    "git",
    "kubectl",
    "pre-commit",
    "py-spy",
    "sbatch",
    "ssh",
    "tail",
}
"""What else the pages call: programs of the system, and of clusters that no test has."""
FOLLOWED = {"adding-a-dataset.md", "adding-a-mixer.md", "adding-a-task.md"}
"""Pages of which a test of their own runs the commands, in a project that has what they add."""
LANGUAGES = {"json", "mermaid", "python", "sh", "text", "tsv", "yaml"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
SENTENCE = re.compile(r"^\| `[^`]+`(?= \| [^|]*\|$)", re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")
CALL = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{'|'.join(map(re.escape, (*OURS, *FOREIGN)))}) [^\s].*")
PREPARED = "cd() { :; }\n"
PLAIN = re.compile(r"[a-z][\w/.-]*(?: [\w./@:-][\w./@:=-]*)+")
"""A call in which no shell could read anything but words."""
RAN_ELSEWHERE = re.compile(r"pipeline\.[\w.]+|models|tests\.\w+")


def blocks(page: str) -> list[str]:
    """Return the blocks of commands of a page, and each command within a line as one."""
    fences = FENCE.findall(page)
    rest = FENCE.sub("\n", page)
    indented = [part for part in INDENTED.findall(rest) if not part.lstrip().startswith(("-", "|"))]
    pieces = [" ".join(piece.split()) for piece in QUOTED.findall(INDENTED.sub("\n", rest))]
    return [
        *(text for language, text in fences if language == "sh"),
        *(re.sub(r"^ {4}", "", part, flags=re.MULTILINE) for part in indented),
        *(piece for piece in pieces if CALL.fullmatch(piece) and "<" not in piece),
        *(f"env {piece}" for piece in pieces if piece.startswith("--set ")),
    ]


def recorded(shell: str, block: str, folder: Path) -> list[list[str]]:
    """Return the words of every call, as they reach the programs, in any order."""
    folder.mkdir()
    programs = folder / "programs"
    programs.mkdir()
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    record = folder / "record"
    record.touch()
    for name in (*OURS, *FOREIGN):
        path = programs / name
        path.write_text(f"#!/bin/sh\nprintf '%s\\0' {name} \"$@\" '' >> {record}\n")
        path.chmod(0o755)
        (folder / ".venv/bin" / name).symlink_to(path)
    here = folder / "here"
    (here / ".venv").mkdir(parents=True)
    (here / ".venv/bin").symlink_to(folder / ".venv/bin")
    line = [shutil.which(shell) or shell, *(["-fis"] if shell == "zsh" else ["-s"])]
    done = subprocess.run(
        line,
        input=PREPARED + block + "\nwait\n",
        cwd=here,
        env={"PATH": str(programs), "HOME": str(folder), "PS1": "", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "not found" not in done.stderr and "syntax error" not in done.stderr, done.stderr
    assert [path.name for path in here.iterdir()] == [".venv"], f"{block} writes files"
    calls: list[list[str]] = [[]]
    for word in record.read_text().split("\0")[:-1]:
        if word:
            calls[-1].append(word)
        else:
            calls.append([])
    return sorted(call for call in calls if call)


def calls(block: str, folder: Path) -> list[list[str]]:
    """Return the calls of a block, which have to be the same in both shells."""
    if PLAIN.fullmatch(block):
        return [block.split()]
    folder.mkdir()
    shells = [shell for shell in ("bash", "zsh") if shutil.which(shell)]
    first, *others = [recorded(shell, block, folder / shell) for shell in shells]
    assert all(other == first for other in others), f"zsh reads otherwise: {block}"
    return first


class Parsed(Exception):
    """A command line that its program has read."""


def read_by_python(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words == ["--version"]:
        return
    if words[0] == "-c":
        compile(words[1], "-c", "exec")
        return
    assert words[0] == "-m", f"python {' '.join(words)}"
    module, *arguments = words[1:]
    if module == "pytest":
        for path in (word for word in arguments if word.startswith("tests")):
            assert (PROJECT / path).exists(), path
        return
    assert RAN_ELSEWHERE.fullmatch(module), module
    assert is_run(module), f"no test runs {module}"

    def stop(parser: ArgumentParser, *_: Any) -> Namespace:
        raise Parsed(original(parser, arguments))

    original = ArgumentParser.parse_args
    monkeypatch.setattr(ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.chdir(PROJECT)
    if module.startswith("tests."):
        return  # takes no words
    try:
        runpy.run_module(module, run_name="__main__")
    except Parsed as parsed:
        check_values(parsed.args[0])
    else:
        raise AssertionError(f"{module} reads no command line")


def check_values(args: Namespace) -> None:
    """Hold `--params` and `--set` against the models, variants against the params file."""
    given = getattr(args, "params", None)
    params = read_params(PROJECT / (given or "params.yaml"), *(getattr(args, "set", None) or []))
    if (PROJECT / (given or "params.yaml")).name == "params.yaml":
        names = set(params.classify.variants) | set(read_params(PAPER).classify.variants)
    else:
        names = set(params.classify.variants) | set(params.detect.variants)
    named = [*(getattr(args, "variants", None) or []), getattr(args, "variant", None)]
    for name in filter(None, named):
        assert name.rpartition("@")[2] in names, name


PAPER = PROJECT / "params" / "paper.yaml"


@cache
def read_params(path: Path, *settings: str) -> Params:
    """Return the parameters of a file, with what `--set` changes."""
    return load(path, list(settings))


@cache
def is_run(module: str) -> bool:
    """Return whether a test runs a module, by its name or by that of its file."""
    short = module.removeprefix("pipeline.")
    call = re.compile(
        rf"""["'\s]{re.escape(module)}["'\s]|run_stage\([^)]*["'](pipeline\.)?{re.escape(short)}["']"""
        rf"""|from {re.escape(module)} import main|from pipeline import .*\b{re.escape(short)}\b"""
    )
    own = Path(__file__).name
    return any(
        call.search(path.read_text())
        for path in (PROJECT / "tests").rglob("*.py")
        if path.name not in (own, "test_help.py")
    )


def read_by_make(words: list[str]) -> None:
    subprocess.run(["make", "--dry-run", *words], cwd=PROJECT, check=True, capture_output=True)


@cache
def read_stages() -> dict[str, Any]:
    """Return the stages of dvc.yaml."""
    stages: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    return stages


def read_by_dvc(words: list[str]) -> None:
    from dvc.cli import parse_args

    args = parse_args(words)
    stages = read_stages()
    for target in (getattr(args, "targets", None) or []) if words[0] == "repro" else []:
        name, _, key = target.partition("@")
        assert name in stages, target
        files = (PAPER, PROJECT / "params.yaml")
        known = {name for file in files for name in read_params(file).classify.variants}
        listed = stages.get(name, {}).get("foreach")
        known |= set(listed) if isinstance(listed, list) else set()
        assert not key or key in known, target


def read_by_click(command: click.Command, words: list[str]) -> None:
    """Let a program of click's read its words, and those of the command in it, without a call."""
    try:
        context = command.make_context(command.name, list(words))
    except click.exceptions.Exit:  # --version
        return
    except click.MissingParameter:
        if words:
            raise
        return  # it is spoken of, not called
    if isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        _, inner, inner_words = command.resolve_command(context, rest)
        assert inner is not None
        read_by_click(inner, inner_words)


def read(call: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program that is called read its words."""
    program, *words = call
    match program:
        case "python":
            read_by_python(words, monkeypatch)
        case "make":
            read_by_make(words)
        case "dvc":
            read_by_dvc(words)
        case "ray":
            from ray.scripts.scripts import cli

            read_by_click(cli, words)
        case "mlflow":
            from mlflow.cli import cli as mlflow_cli

            read_by_click(mlflow_cli, words)
        case _:
            assert program in FOREIGN | {"pip"}


def test_every_kind_of_block_is_known() -> None:
    for path in PAGES:
        for language, text in FENCE.findall(path.read_text()):
            assert language in LANGUAGES, f"{path.name}: {language or 'a fence without language'}"
            calls = [line for line in text.splitlines() if CALL.fullmatch(line)]
            assert language == "sh" or calls == [], f"{path.name} hides {calls}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_both_shells_and_the_program_read_what_a_page_says(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = path.read_text()
    if path.name == "troubleshooting.md":  # its rows begin with what the code says, not with calls
        page = SENTENCE.sub("|", page)
    for number, block in enumerate(dict.fromkeys(blocks(page))):
        called = calls(block, tmp_path / str(number))
        assert called, f"{block} calls nothing"
        for call in called if path.name not in FOLLOWED else ():
            with monkeypatch.context() as patch:
                read(call, patch)


@pytest.mark.parametrize(
    "block",
    [
        "python -m pipeline.tune --set tune.space.kernel_size=[3,5]",
        'options=(--set a="b c")\npython -m pipeline.tune "${options[@]}"',
        "make repro    # raw data -> shards",
    ],
)
def test_what_zsh_reads_otherwise_is_found(block: str, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh")
    bash = recorded("bash", block, tmp_path / "bash")
    try:
        assert recorded("zsh", block, tmp_path / "zsh") != bash
    except AssertionError as error:
        assert "writes files" in str(error) or "not found" in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "python -m pipeline.train classify dwnet_micro --steps 3",
        "python -m pipeline.train classify dwnet_micro --set classify.recipe.lr=1",
        "python -m pipeline.train classify dwnet_mikro",
        "dvc repro nothing",
        "make nothing",
        "ray start --heads",
    ],
)
def test_what_a_program_does_not_take_is_found(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((SystemExit, Exception)):
        read(line.split(), monkeypatch)


def test_no_program_is_listed_that_no_page_calls(tmp_path: Path) -> None:
    text = "\n".join(block for path in PAGES for block in blocks(path.read_text()))
    assert {name for name in FOREIGN if not re.search(rf"\b{re.escape(name)}\b", text)} == set()
