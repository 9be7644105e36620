"""The space of `tune`: every combination of its values, or random ones; what cannot be run is left
out by name.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from pipeline.core.errors import UserError
from pipeline.loading.randomness import generator
from pipeline.params import Params
from pipeline.params.searches import Range, Tune
from pipeline.params.section import merged
from pipeline.search.settings import (
    Impossible,
    LeftOut,
    Setting,
    entry_of,
    known_parameters,
    make_setting,
    refuse_unknown,
)

HELD_OUT = "held_out"
WHERE = "tune"


def settings_of(params: Params) -> tuple[list[Setting], list[LeftOut]]:
    """Return the settings of the search, and the combinations that cannot be run.

    Raises:
        UserError: the space is empty, names an unknown parameter or a wrong value, or has no
            possible setting.
    """
    tune = params.tune
    if not tune.space:
        raise UserError(
            "tune.space is empty; name at least one parameter and its values, e.g. kernel_size: "
            "[3, 5, 7]"
        )

    parameters = known_parameters(tune.task, type(getattr(params, tune.task).recipe))
    for name in tune.space:
        refuse_unknown(name, parameters, "tune.space")

    kept = []
    left_out = []
    for values in _combinations(tune):
        try:
            kept.append(_setting(params, values))
        except Impossible as reason:
            left_out.append(LeftOut(values, str(reason)))

    if not kept:
        raise UserError(f"tune.space has no setting that can be run: {left_out[0].reason}")
    return kept, left_out


def _setting(params: Params, values: dict[str, Any]) -> Setting:
    tune = params.tune
    judged = {"hold_out": tune.hold_out, "evaluate_on": HELD_OUT}
    entry = merged(tune.base, entry_of(values))
    return make_setting(params, tune.task, merged(tune.recipe, judged), entry, values, WHERE)


def _combinations(tune: Tune) -> Iterator[dict[str, Any]]:
    """Yield the values of each setting, no two alike."""
    if tune.searcher == "grid":
        yield from (
            dict(zip(tune.space, values, strict=True)) for values in product(*tune.space.values())
        )
        return

    seen: list[dict[str, Any]] = []
    for number in range(100 * (tune.samples or 0)):  # a small space runs out of new settings
        drawn = _draw(tune, number)
        if drawn not in seen:
            seen.append(drawn)
            yield drawn
        if len(seen) == tune.samples:
            return


def _draw(tune: Tune, number: int) -> dict[str, Any]:
    """Return random setting `number`, a function of the search's seed."""
    random = generator("search", tune.search_seed, number)
    values = {}
    for name, axis in tune.space.items():
        if not isinstance(axis, Range):
            values[name] = axis[int(random.integers(len(axis)))]
            continue

        integer = isinstance(axis.low, int) and isinstance(axis.high, int)
        low = float(axis.low)
        high = float(axis.high) + integer
        spread = random.random()
        value = (
            math.exp(math.log(low) + spread * math.log(high / low))
            if axis.log
            else low + spread * (high - low)
        )
        values[name] = min(int(value), int(axis.high)) if integer else float(f"{value:.6g}")

    return values
