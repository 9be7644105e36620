"""Commands as a shell reads them, to be pasted."""

import shlex

from pipeline.core.errors import discreet


def shell_line(*words: str | tuple[str, str]) -> str:
    """Return words, and options with their values, as bash and zsh read them."""
    flat = []
    for word in words:
        name, value = word if isinstance(word, tuple) else ("", word)
        flat += (
            [f"{name}={value}"]
            if name and value.startswith("-")
            else [name, value]
            if name
            else [value]
        )

    return discreet(" ".join(_quoted(word) for word in flat))


def _quoted(word: str) -> str:
    """Quote a word where a shell would read more into it; zsh takes `=ls` for the path of ls."""
    return f"'{word}'" if word.startswith("=") and word == shlex.quote(word) else shlex.quote(word)
