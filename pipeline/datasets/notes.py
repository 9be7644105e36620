"""What was noticed about inputs that stay in use: counted by code, with the first few examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field

EXAMPLES = 5


def brief(names: Iterable[object], most: int = 3) -> str:
    """Return the first few of some names, escaped where they cannot be printed, and how many more
    there are.
    """
    texts = [text if text.isprintable() else ascii(text)[1:-1] for text in map(str, names)]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


@dataclass
class Notes:
    """`counts` by code, e.g.

    `exif_rotated`, and up to five `examples` of each, in the order in which they were met.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, *examples: str, count: int = 1) -> None:
        """Count something that was noticed."""
        self.counts[code] = self.counts.get(code, 0) + count
        kept = self.examples.setdefault(code, [])
        kept.extend(examples[: EXAMPLES - len(kept)])

    def sentence(self, codes: Iterable[str], most: int = 3) -> str:
        """Return the first few examples of some codes, the code after each."""
        return brief(
            [
                f"{example}: {code}"
                for code in codes
                for example in self.examples.get(code, ())[:most]
            ],
            most,
        )

    def extend(self, other: "Notes") -> None:
        """Add what was noticed elsewhere, later."""
        for code, count in other.counts.items():
            self.add(code, *other.examples[code], count=count)
