"""Numbers as people read them."""

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
TIMES = ((3600.0, "h"), (60.0, "min"), (0.0, "s"))
DAYS = 2 * 86400.0


def count(number: int, what: str) -> str:
    """Return `1 stage`, `2 stages`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def amount(number: int) -> str:
    """Return a number of images: in full up to ten millions, then in millions."""
    return f"{number:,}" if number < 10_000_000 else f"{_digits(number / 1e6)} M"


def size(number: float) -> str:
    """Return a number of bytes in powers of a thousand."""
    for scale, letter in SCALES:
        if number >= scale:
            return f"{_digits(number / scale)} {letter}B"
    return f"{number:.0f} B"


def clock(seconds: float) -> str:
    """Return a time on a clock: days from two on."""
    return f"{_digits(seconds / 86400)} days" if seconds >= DAYS else duration(seconds, "")


def duration(seconds: float, of: str) -> str:
    """Return device time, e.g. `107 GPU-h` for `of` = `GPU-`."""
    scale, unit = next((scale, unit) for scale, unit in TIMES if seconds >= scale)
    return f"{_digits(seconds / (scale or 1.0))} {of}{unit}"


def _digits(value: float) -> str:
    """Return two digits at least, and no more than are before the point."""
    return f"{value:.1f}" if 0 < value < 9.95 else f"{value:,.0f}"
