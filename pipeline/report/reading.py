"""What the words of the report mean, for its reader."""

from pipeline.params import Compare
from pipeline.report.numbers import label

READING = """
**last** is the last evaluation of a run, and it is what is compared. **best** was chosen on the
validation data itself and so flatters; it is shown, not judged.

**±** is the sample standard deviation over seeds. One seed has none.

**reproduced**: a number that its authors published, and runs with the paper's data, network, image
size and length, of at least {least} seeds. The whole 95% interval over seeds lies within the
tolerance ({tolerances} points; parameters 0.5 M; MACs 0.1 G). The distance counts in both
directions: a run that is better by more than the tolerance is not a reproduction either. Other
numbers of the recipe are not checked; each run's are in its metrics.json.

**not reproduced**: the whole interval lies outside the tolerance. Everything else is **not
settled**: more scatter or fewer seeds settle less, and never help a number to pass.

**recalled**: quoted from memory of the paper, not checked against its text. Such a number is
**compared**, never reproduced. So is speed, which belongs to its machine, and a metric without a
tolerance.

**small-scale run**: other data, fewer images, a smaller network or a shorter run than published. It
stands beside the published number of the same operator for orientation, without a difference and
without a judgement.

**matches**, **beats**, **falls behind** (question 5): by the 95% interval of the paired difference,
against the same tolerances as a margin. The whole interval within the margin on both sides of zero
matches; else an interval above zero beats and one below zero falls behind. Everything else, and
everything from one seed or with every run at 100%, is **not settled**. A metric without a tolerance
has a margin of 0 and can match nothing.

**told apart from zero**: adjusted p below 5%. Each term of the factorial is tested as a whole (F),
and its pairs once it is told apart. The adjustment holds all terms and pairs of a budget together
to 5%; where each term is one pair, it is Holm's.

**smallest detectable**: the true effect that this very rule tells apart in 80% of repetitions, with
as many seeds and the scatter that was seen. It stands alone there, a pair of channel groups with
the third level midway. A smaller effect can hide behind "not told apart from zero".

**not run**: there are no results; the command or the variant that would make them is given.

Parameters and MACs are counted, not trained, and need no data. A multiply-add counts once,
as in the paper; published counts include biases and norms that the count here may leave out.
"""


def how_to_read(compare: Compare) -> list[str]:
    """One item a word, with the tolerances in force."""
    tolerances = ", ".join(
        f"{label(metric)} {value:g}" for metric, value in compare.tolerance.items()
    )
    text = READING.format(tolerances=tolerances or "none set", least=compare.least_seeds)
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
