"""One optimiser step: in parts where memory is short, and as one CUDA graph on NVIDIA's GPUs."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from clothclf.errors import first_line
from clothclf.training.objective import Objective, num_correct
from clothclf.training.optimizer import parameters_of

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Inputs and targets to mean loss and number of correct predictions, both on the device."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs some work a few times, and returns what repeats it."""

# torch has a class for a GPU's want of memory, and none for the system's; the last is oneDNN's way.
MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "out of memory",
    "could not create a",
)
WARM_UPS = 3
"""Steps before recording, in which libraries choose algorithms and make their buffers."""


class EagerStep:
    """Steps as torch carries them out; a batch that memory is too short for is cut into parts.

    The gradients of the parts are added up before the optimiser moves, so that the effective batch
    stays as it was; a batch norm that trains sees the parts one by one.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective | None = None,
        clip_norm: float | None = None,
        parts: int = 1,
    ) -> None:
        """`parts` is where to begin: 1, or what an earlier process found necessary.

        `clip_norm` is the longest that the gradient of all parameters together may be.
        """
        self.parts = parts
        self._module = module
        self._optimizer = optimizer
        self._objective = objective or Objective()
        self._clip_norm = clip_norm

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Carry out one step; raises torch's error where not even single images fit."""
        while True:
            try:
                loss, correct = self._gradients(inputs, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.parts >= len(inputs):
                    raise
            # Outside the handler: the error's traceback holds what is to be freed.
            self._optimizer.zero_grad(set_to_none=True)
            _give_back(inputs.device)
            self.parts = min(2 * self.parts, len(inputs))
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters_of(self._optimizer), self._clip_norm)
        self._optimizer.step()
        return loss, correct

    def _gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        if self.parts == 1:
            return self._backward(inputs, targets, 1.0)
        done = [
            self._backward(some, right, len(some) / len(inputs))
            for some, right in self._cut(inputs, targets)
        ]
        return torch.stack([loss for loss, _ in done]).sum(), sum(
            (correct for _, correct in done), torch.zeros_like(done[0][1])
        )

    def _cut(self, inputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        parts = min(self.parts, len(inputs))
        return zip(inputs.tensor_split(parts), targets.tensor_split(parts), strict=True)

    def _backward(self, inputs: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
        scores = self._module(inputs)
        loss = self._objective.loss(scores, targets)
        if share != 1:
            loss = loss * share
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), num_correct(scores, targets)


class RecordedStep:
    """A step recorded at the first batch, and replayed for all of its size.

    Batches of another size go eagerly.

    A small batch's kernels take a GPU less time than starting them takes the CPU; a graph starts
    them all at once. Recording trains on the first batch, and is undone before the first step.
    """

    def __init__(
        self,
        eager: EagerStep,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        record: Recorder,
    ) -> None:
        """`record` is `record_cuda_graph`, or something that repeats work in another way."""
        self._eager = eager
        self._module = module
        self._optimizer = optimizer
        self._record = record
        self._replay: Callable[[], None] | None = None
        self.fault = ""
        """Why steps could not be recorded, after which all go eagerly."""

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Carry out one step."""
        if self._replay is None and not self.fault:
            self._begin(inputs, targets)
        if self._replay is None or inputs.shape != self._inputs.shape:
            return self._eager(inputs, targets)
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._replay()
        return self._loss.clone(), self._correct.clone()

    def _begin(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()

        def work() -> None:
            self._loss, self._correct = self._eager(self._inputs, self._targets)

        before = _State(self._module, self._optimizer)
        try:
            self._replay = self._record(work)
        except RuntimeError as error:
            self.fault = first_line(error)
        before.restore()


class _State:
    """All that a step changes, to be put back in place: a graph knows it by its address."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._device = next(module.parameters()).device
        self._tensors = [*module.parameters(), *module.buffers()]
        self._values = [tensor.detach().clone() for tensor in self._tensors]
        self._moments = {
            (parameter, name): value.clone()
            for parameter, state in optimizer.state.items()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        self._generator = generator_state(self._device)

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        for parameter, state in self._optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    # All that torch keeps begins at zero; a momentum of zero is as good as none.
                    value.copy_(self._moments.get((parameter, name), torch.tensor(0.0)))
        set_generator_state(self._device, self._generator)


def record_cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record work as a CUDA graph; raises RuntimeError where it waits for the GPU in between."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def generator_state(device: torch.device) -> Tensor:
    """State of the generator that dropout on a device draws from."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """The inverse of `generator_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def _give_back(device: torch.device) -> None:
    """Return freed memory to the device or the system, for whoever else needs some."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # other C libraries than glibc
            ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or the system had too little memory, on a GPU or beside it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(word in str(error) for word in MEMORY_WORDS)
