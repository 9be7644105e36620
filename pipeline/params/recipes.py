"""The sections of params.yaml that say how any task trains: durations, optimizer, schedule.

Augmentation and heads are in the `recipe.py` of each task's folder. Defaults are the paper's
numbers (arXiv 2106.04263 and the authors' released configurations).
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.params.section import Fraction, Positive, Section

Precision = Literal["none", "bf16", "fp16"]
"""Mixed precision: `none` is float32 throughout."""

IMAGE_SIZE = 224
"""The side of the images that a network is built for where nobody says another (ImageNet's)."""


@dataclass(frozen=True)
class Usage:
    """How trained weights are used by those who have nothing but their file (`models.load`).

    Attributes:
        network: the kind of network, `classifier`, `detector` or `segmenter`.
        transform: what makes an image of a picture: `kind` (`crop` or `fit`) and its numbers.
        heads: the numbers of a detector's or segmenter's heads.
        fixed_size: the side of the square images that the network is built for, where it is.
    """

    network: str
    transform: dict[str, Any]
    heads: dict[str, Any] = field(default_factory=dict)
    fixed_size: int | None = None


class Duration(Section):
    """How long: `{epochs: 300}` or `{steps: 160000}`, exactly one of them."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    """In epochs; or else in steps."""
    steps: Positive | None = None
    """In optimizer steps; or else in epochs."""

    @model_validator(mode="after")
    def one_unit(self) -> Self:
        """Refuse both units, and neither."""
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("a duration is {epochs: N} or {steps: N}, one of the two")
        return self

    def in_steps(self, steps_per_epoch: int) -> int:
        """Resolve to optimizer steps."""
        return self.steps if self.steps is not None else round((self.epochs or 0) * steps_per_epoch)

    def at_least_a_step(self, steps_per_epoch: int) -> int:
        """Resolve to optimizer steps, at least one: the length of a run, or of an interval."""
        return max(1, self.in_steps(steps_per_epoch))


def _none(value: Any) -> Any:
    """Take a duration of nothing for none."""
    return None if value in ({"steps": 0}, {"epochs": 0}) else value


class Optimizer(Section):
    """AdamW without decay on 1-D parameters, biases and positions; `lr` is the peak at `lr_batch`
    images a step.
    """

    lr: Annotated[float, Field(gt=0)] = 5e-4
    """Peak learning rate, at `lr_batch` images a step."""
    lr_batch: Positive | None = 512
    """Images a step that `lr` is meant for, scaled to others in proportion; null: as it is."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Decay of weights a step, times the learning rate."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """AdamW's decay of the gradient's mean and of its square's."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW's least divisor."""
    clip_grad: Annotated[float, Field(gt=0)] | None = 5.0
    """Longest gradient, its norm over all weights; null: any."""
    no_decay: Literal["1d_and_bias", "norm_names"] = "1d_and_bias"
    """What does not decay: 1-D parameters and biases, or norms and positions by name."""


class Schedule(Section):
    """Learning rate over steps; `warmup_lr` and `min_lr` scale with the batch as `lr` does.

    `warmup: null` is none.
    """

    kind: Literal["cosine", "multistep", "poly"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: Annotated[Duration | None, BeforeValidator(_none)] = Duration(epochs=20)
    """How long the learning rate rises at first."""
    warmup_lr: Annotated[float, Field(ge=0)] = 5e-7
    """Learning rate at the first step, at `lr_batch` images."""
    min_lr: Annotated[float, Field(ge=0)] = 5e-6
    """Learning rate at the end, at `lr_batch` images."""
    milestones: tuple[Duration, ...] = ()
    """multistep: when the rate falls, each {epochs: N} or {steps: N}."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """multistep: what the rate is multiplied by at each milestone."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """poly: exponent of the part that is left."""

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Return how many optimizer steps warm up."""
        return self.warmup.in_steps(steps_per_epoch) if self.warmup is not None else 0


class BaseRecipe(Section):
    """What the recipes of all tasks have in common; besides the model and the data it decides a
    run's result.

    A micro-batch is what batch norm and mixing see (the paper's images per GPU); `micro_batches` of
    them make the global batch of one optimizer step, whatever the number of ranks. `evaluate_on:
    train` shows whether a network can learn its own training samples at all; it says nothing about
    others. `hold_out` keeps that part of the training samples out of training; `evaluate_on:
    held_out` judges by it, so that `val` stays unseen while choosing.

    `sync_bn` gives the batch norms the statistics of the whole global batch, on GPUs and with one
    rank a micro-batch; on a CPU they keep those of their micro-batch. `frozen_bn` keeps the
    backbone's running statistics as `init_from` has them: for micro-batches too small to have
    statistics of their own.

    Evaluation has a precision of its own, `eval_amp`, which is float32 unless said otherwise,
    whatever `amp` trains
    with: published weights have the score that they had in training.

    `group_by_shape` deals the images of a step out so that wide ones share micro-batches, and the
    others do.
    """

    duration: Duration = Duration(epochs=300)
    """How long a run trains."""
    micro_batch: Positive = 128
    """Images that batch norm and mixing see together; the paper's images a GPU."""
    micro_batches: Positive = 8
    """Micro-batches of one optimizer step, over all workers."""
    shuffle_block: Positive | Literal["all"] = "all"
    """Shards whose samples are shuffled together."""
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    amp: Precision = "none"
    """Mixed precision of training; none: float32."""
    eval_amp: Precision = "none"
    """Mixed precision of evaluation; none: float32."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay a step of averaged weights, which are then evaluated; null: none are kept."""
    channels_last: bool = True
    """Keep images channels-last in memory."""
    compile: bool = False
    """Compile the network with torch.compile."""
    kernels: Literal["plain", "native"] = "plain"
    """Of training on CPUs; native: compiled there, one thread, same within rounding."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """A loss or gradient that is not finite ends the run, or its step is passed over."""
    evaluate_on: Literal["val", "train", "held_out"] = "val"
    """Which samples judge: val, those trained on, or the part `hold_out`."""
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the training samples that is not trained on."""
    evaluate_every: Duration = Duration(epochs=1)
    """How often a run is evaluated."""
    checkpoint_every: Duration = Duration(epochs=1)
    """How often a run is saved."""
    init_from: str | None = None
    """Task whose weights of the same variant the backbone starts from; null: from nothing."""
    sync_bn: bool = False
    """Batch norm over the whole step, on GPUs with one worker a micro-batch."""
    frozen_bn: bool = False
    """Keep the backbone's running statistics as `init_from` has them."""
    group_by_shape: bool = False
    """Deal out the images of a step so that wide ones share micro-batches."""

    @property
    def network_size(self) -> int | None:
        """Pixels of the side of the square images that the network is built for; None where it
        takes images of any size.
        """
        return None

    @property
    def usage(self) -> Usage | None:
        """How trained weights are used; None where they cannot be without the project."""
        return None

    @model_validator(mode="after")
    def held(self) -> Self:
        """Refuse to judge by a part that is empty."""
        if self.evaluate_on == "held_out" and not self.hold_out:
            raise ValueError(
                "evaluate_on: held_out needs hold_out, the part of the training set to judge by"
            )
        return self

    @property
    def global_batch(self) -> int:
        """Images per optimizer step over all ranks."""
        return self.micro_batch * self.micro_batches
