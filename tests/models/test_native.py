"""The compiled kernels against the readable sum in float64, and the way without a compiler."""

import os
import shutil
import subprocess
import sys
import textwrap
from functools import partial

import pytest
import torch
from models_reference import aggregate_reference
from torch import Tensor
from torch.nn import functional as F

from models import create_model
from models.aggregate import aggregate, aggregate_predicted, kernels
from models.aggregate.native import library, operators

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
# Batch, channels, height, width, groups, kernel size: odd maps, maps smaller than the kernel, one
# image, groups of one channel and of several, tiles that end inside a map.
SHAPES = [
    (2, 32, 9, 11, 32, 7),
    (1, 16, 5, 3, 8, 3),
    (3, 48, 2, 2, 16, 7),
    (2, 96, 7, 17, 32, 9),
    (4, 16, 13, 8, 16, 5),
]
SHARING = ["static", "per_image", "per_position", "static_per_position"]


@pytest.fixture
def calls(monkeypatch):
    """Names of the kernels that ran: that a fallback agrees would say nothing."""
    names: list[str] = []
    call = operators._call

    def watched(name, *arguments):
        names.append(name)
        call(name, *arguments)

    monkeypatch.setattr(operators, "_call", watched)
    return names


def operands(shape, sharing, dtype=torch.float32):
    batch, channels, height, width, groups, size = shape
    images = 1 if sharing.startswith("static") else batch
    positions = (height, width) if sharing.endswith("position") else (1, 1)
    x = torch.randn(batch, channels, height, width)
    weight = torch.randn(images, groups, size * size, *positions) / size
    return [t.to(dtype).requires_grad_() for t in (x, weight, torch.randn(channels))]


def predicted_operands(shape, features=6):
    batch, channels, height, width, groups, size = shape
    shapes: list[tuple[int, ...]] = [
        (batch, channels, height, width),
        (batch, features, height, width),
    ]
    shapes += [(groups * size * size, features), (groups * size * size,)]
    return [torch.randn(*s).div(size).requires_grad_() for s in shapes]


def predicted_reference(x, features, projection, bias, groups):
    weight = F.conv2d(features, projection[:, :, None, None], bias)
    return aggregate_reference(x, weight.unflatten(1, (groups, -1)))


def gradient_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def assert_as_exact(function, reference, inputs, tolerance, direction=None):
    """Values and gradients are those of float64, up to a part of the largest."""
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = reference(*exact)
    with kernels("native"):
        got = function(*inputs)
    direction = torch.randn_like(expected).to(got.dtype) if direction is None else direction
    gradients = torch.autograd.grad(got, inputs, direction)
    right = torch.autograd.grad(expected, exact, direction.double())
    for mine, theirs in zip((got, *gradients), (expected, *right), strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(mine.double(), theirs, atol=tolerance * scale, rtol=0)


@needs_compiler
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_float64(shape, sharing, calls):
    assert_as_exact(aggregate, aggregate_reference, operands(shape, sharing), 1e-6)
    assert calls


@needs_compiler
@pytest.mark.parametrize("sharing", SHARING)
def test_operands_in_any_memory_order(sharing, calls):
    shape = (2, 32, 9, 11, 16, 7)
    _, weight, bias = operands(shape, sharing)
    wide = torch.randn(2, 32, 11, 20)[:, :, :, ::2][:, :, :, :9].transpose(2, 3)
    wide = wide.detach().requires_grad_()
    scattered = weight.detach().permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0)
    inputs = [wide, scattered.requires_grad_(), bias]
    assert not wide.is_contiguous()
    direction = torch.randn(2, 32, 11, 9).transpose(2, 3)
    assert_as_exact(aggregate, aggregate_reference, inputs, 1e-6, direction)
    assert calls


@needs_compiler
@pytest.mark.parametrize("sharing", SHARING)
def test_bfloat16_is_rounded_once(sharing, calls):
    inputs = operands((2, 32, 9, 11, 16, 7), sharing, torch.bfloat16)
    assert_as_exact(aggregate, aggregate_reference, inputs, 2**-7)
    assert calls


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_predicted_weights_are_those_of_float64(shape, calls):
    groups = shape[4]
    assert_as_exact(
        partial(aggregate_predicted, groups=groups),
        partial(predicted_reference, groups=groups),
        predicted_operands(shape),
        2e-6,  # of which the library's products, thousands of terms long, are most
    )
    assert calls


@needs_compiler
@pytest.mark.parametrize(
    "name", ["dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "locally_connected", "sliding_attention"]
)
@pytest.mark.parametrize("amp", [False, True])
def test_a_network_learns_the_same_from_either(name, amp, calls):
    torch.manual_seed(0)
    model = create_model(f"{name}_micro", num_classes=5)
    images = torch.randn(3, 3, 64, 64)
    gradients = {}
    for choice in ("plain", "native"):
        model.zero_grad()
        with kernels(choice), torch.autocast("cpu", torch.bfloat16, enabled=amp):
            model(images).float().logsumexp(1).sum().backward()
        gradients[choice] = torch.cat([gradient_of(p).flatten() for p in model.parameters()])
    assert calls
    difference = (gradients["plain"] - gradients["native"]).norm() / gradients["plain"].norm()
    assert difference < (0.05 if amp else 1e-4)


@needs_compiler
def test_what_they_do_not_take_goes_the_plain_way(calls):
    def both(*inputs):
        with kernels("native"):
            got = aggregate(*inputs)
        assert torch.equal(got, aggregate(*inputs))

    both(*operands((2, 24, 5, 5, 24, 3), "per_image"))  # channels that do not fill a vector
    both(*operands((2, 16, 5, 5, 16, 11), "static"))  # a kernel that was not compiled
    for sharing in SHARING:
        both(*operands((2, 16, 5, 5, 16, 3), sharing, torch.float64))
        both(*operands((2, 16, 5, 5, 16, 3), sharing, torch.float16))
    assert not calls


@needs_compiler
@pytest.mark.parametrize("sharing", SHARING)
def test_a_traced_network_takes_the_plain_way(sharing, calls):
    inputs = tuple(t.detach() for t in operands((2, 16, 5, 5, 16, 3), sharing))
    with kernels("native"):
        compiled = torch.compile(aggregate, backend="eager", fullgraph=True)(*inputs)
        traced = torch.jit.trace(aggregate, inputs, check_trace=False)(*inputs)
    torch.testing.assert_close(compiled, aggregate(*inputs))
    torch.testing.assert_close(traced, aggregate(*inputs))
    assert not calls


def test_plain_unless_asked_for(calls):
    aggregate(*operands(SHAPES[0], "static"))
    with pytest.raises(ValueError, match="plain or native"), kernels("fast"):
        pass
    assert not calls


PROGRAM = """
import torch
from models.aggregate import aggregate, kernels
from models.aggregate.native.library import library

x, weight = torch.randn(2, 16, 6, 6), torch.randn(2, 16, 9, 1, 1)
plain = aggregate(x, weight)
with kernels("native"):
    print(all(torch.equal(aggregate(x, weight), plain) for _ in range(2)), library() is not None)
"""


def started(home, **environment):
    variables = {**os.environ, "XDG_CACHE_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    variables |= environment
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_a_compiler_one_sentence_and_the_plain_way(tmp_path):
    out, err = started(tmp_path, PATH="", CXX="").communicate(timeout=120)
    assert out.split() == ["True", "False"]
    assert err.count("native kernels cannot be had here") == 1 and len(err.splitlines()) == 1


@needs_compiler
def test_a_compiler_that_fails_is_as_none(tmp_path):
    failing = tmp_path / "c++"
    failing.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    failing.chmod(0o755)
    out, err = started(tmp_path, CXX=str(failing)).communicate(timeout=120)
    assert out.split() == ["True", "False"] and "no such flag" in err
    assert not list((tmp_path / "demystify-local-attention").glob("*.so"))


@needs_compiler
def test_of_processes_that_start_together_one_builds(tmp_path):
    log, real = tmp_path / "builds", shutil.which("c++")
    counting = tmp_path / "c++"
    counting.write_text(f'#!/bin/sh\necho x >> {log}\nexec {real} "$@"\n')
    counting.chmod(0o755)
    code = textwrap.dedent(f"""
        import importlib.util, os, sys
        for _ in range(16):
            if os.fork() == 0:
                spec = importlib.util.spec_from_file_location("library", {library.__file__!r})
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                os._exit(module.library() is None)
        sys.exit(any(os.wait()[1] for _ in range(16)))
    """)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "CXX": str(counting)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120)
    assert done.returncode == 0 and log.read_text().count("x") == 1
    assert len(list((tmp_path / "demystify-local-attention").glob("*.so"))) == 1
