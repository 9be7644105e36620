"""What was noticed about inputs that stay in use: counted by code, with the first few examples."""

from dataclasses import dataclass, field

EXAMPLES = 5


@dataclass
class Notes:
    """`counts` by code, e.g. `exif_rotated`, and up to five `examples` of each, in the order in which they were met."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, *examples: str, count: int = 1) -> None:
        """Count something that was noticed."""
        self.counts[code] = self.counts.get(code, 0) + count
        kept = self.examples.setdefault(code, [])
        kept.extend(examples[: EXAMPLES - len(kept)])

    def extend(self, other: "Notes") -> None:
        """Add what was noticed elsewhere, later."""
        for code, count in other.counts.items():
            self.add(code, *other.examples[code], count=count)
