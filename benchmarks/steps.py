"""Training steps of whole networks against the same networks in the form of their authors' code.

One thread, CPU time, batch of 2 at 224 pixels; same weights, same drop path, AdamW. Logits
and gradient are first held against the authors' form in float64. Prints one JSON line a figure.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.common.authors import AuthorsForm
from benchmarks.common.side_by_side import agree, interleaved, one_thread, tell
from models import create_model
from models.aggregate import kernels

BATCH, SIDE, CLASSES, ROUNDS = 2, 224, 1000, 5
COMMAND = "make bench only=steps"
GOALS = {
    "dwnet": {"fp32": 1.08, "bf16": 1.3},
    "dynamic_dwnet": {"fp32": 1.15, "bf16": 1.3},
    "i_dynamic_dwnet": {"fp32": 2.2, "bf16": 2.0},
}
BORNE = {"fp32": (1e-5, 3e-3), "bf16": (5e-2, 0.2)}
"""Largest difference of the logits, and of the first layer's gradient: rounding turns some ReLUs on
or off, and the authors' form in float32 differs from itself in float64 by 5e-4 there.
"""


def forward(model: nn.Module, images: Tensor, labels: Tensor, precision: str) -> Tensor:
    """Return the loss; drop path is drawn anew from the same seed."""
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = model(images)
    return F.cross_entropy(logits.float(), labels)


def stepper(
    model: nn.Module, images: Tensor, labels: Tensor, precision: str, choice: str
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)

    def step() -> None:
        with kernels(choice):
            forward(model, images, labels, precision).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def check(ours: nn.Module, images: Tensor, labels: Tensor, precision: str, choice: str) -> None:
    """Hold the project's logits and gradient against the authors' form in float64.

    With running statistics: over two images batch norm magnifies rounding beyond comparison.
    """
    exact = AuthorsForm(ours).double().eval()
    right = exact(images.double())
    with kernels(choice), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        got = ours.eval()(images)
    theirs, mine = (
        torch.autograd.grad(F.cross_entropy(logits, labels), [weight])[0]
        for logits, weight in (
            (right, exact.model.backbone.stem.proj.weight),
            (got.float(), ours.get_parameter("backbone.stem.proj.weight")),
        )
    )
    logits, gradient = BORNE[precision]
    agree("the logits", got, right, logits)
    agree("the first layer's gradient", mine, theirs, gradient)
    ours.train()


def measure(name: str, precision: str, choice: str) -> None:
    torch.manual_seed(0)
    ours = create_model(f"{name}_tiny", num_classes=CLASSES).train()
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(0, CLASSES, (BATCH,))
    theirs = AuthorsForm(ours)
    ours = ours.to(memory_format=torch.channels_last)
    check(ours, images, labels, precision, choice)
    last = images.contiguous(memory_format=torch.channels_last)
    times = interleaved(
        stepper(ours, last, labels, precision, choice),
        stepper(theirs, images, labels, precision, "plain"),
        ROUNDS,
    )
    goal = GOALS[name][precision] if choice == "native" else None
    figure = f"{name}_tiny, training step, {precision}, {choice} kernels"
    tell(figure, "the authors' form", times, goal, None, COMMAND, rounds=ROUNDS, batch=BATCH)


def main() -> None:
    one_thread()
    for precision in ("fp32", "bf16"):
        for name in GOALS:
            for choice in ("native", "plain"):
                measure(name, precision, choice)


if __name__ == "__main__":
    main()
