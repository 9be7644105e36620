"""Steps and evaluations are those that the training loop makes."""

from collections.abc import Callable

import pytest

from pipeline.core.errors import UserError
from pipeline.planning.data import Amount
from pipeline.planning.work import evaluations, training_of, work_of
from pipeline.project.call import Call

VARIANTS = {"dwnet_micro": {"mixer": "dwnet", "size": "micro", "seeds": [3, 4]}}
AMOUNT = Amount("imagenet", {"train": 1050, "val": 70}, 0, 0, "params")


@pytest.mark.parametrize("total", [1, 5, 12, 13])
@pytest.mark.parametrize("every", [1, 3, 4, 50])
def test_evaluations_are_due_as_in_the_loop(total: int, every: int) -> None:
    assert evaluations(total, every) == sum(
        step % every == 0 or step == total for step in range(1, total + 1)
    )


def test_work_is_that_of_all_seeds(call_with: Callable[..., Call]) -> None:
    recipe = {
        "micro_batch": 10,
        "micro_batches": 10,
        "duration": {"epochs": 2.5},
        "evaluate_every": {"steps": 7},
    }
    params = call_with(
        classify={"recipe": recipe, "variants": VARIANTS}, cluster={"workers": 2}
    ).params
    work = work_of(training_of(params, "classify", "dwnet_micro"), AMOUNT, None)
    assert work is not None  # 10 steps an epoch, 25 in all, evaluated after 7, 14, 21 and 25
    assert (work.steps, work.images, work.evaluations, work.evaluated) == (50, 5000, 8, 560)
    on_train = {**recipe, "evaluate_on": "train"}
    params = call_with(
        classify={"recipe": on_train, "variants": VARIANTS}, cluster={"workers": 2}
    ).params
    work = work_of(training_of(params, "classify", "dwnet_micro"), AMOUNT, None)
    assert work is not None and work.evaluated == 8 * 1050


def test_unknown_data_are_unknown_work_and_too_few_are_an_error(
    call_with: Callable[..., Call],
) -> None:
    params = call_with(classify={"variants": VARIANTS}).params
    training = training_of(params, "classify", "dwnet_micro")
    assert work_of(training, Amount("imagenet", None, None, None, "unknown"), None) is None
    with pytest.raises(
        UserError, match="1023 training images do not fill one global batch of 1024"
    ):
        work_of(training, Amount("imagenet", {"train": 1023, "val": 1}, 0, 0, "params"), None)
