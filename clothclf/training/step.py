"""Optimizer step, with gradient accumulation on out-of-memory errors, and as a CUDA graph."""

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
"""Maps inputs and targets to mean loss and number of correct predictions, both on the device."""

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""Runs a function a few times, and returns a function that replays it."""

# torch has an out-of-memory class for GPUs only; the last entry is oneDNN's message.
MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "out of memory",
    "could not create a",
)
WARM_UPS = 3
"""Steps before recording, in which libraries select algorithms and allocate buffers."""


class EagerStep:
    """Eager step; splits a batch into parts if it does not fit in memory.

    The gradients of the parts are accumulated, so that the effective batch size does not change.
    Batch norms in training mode see each part separately.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective | None = None,
        clip_norm: float | None = None,
        parts: int = 1,
    ) -> None:
        """`parts` is the initial number of parts: 1, or the value of a checkpoint.

        `clip_norm` is the maximum norm of the gradient of all parameters.
        """
        self.parts = parts
        self._module = module
        self._optimizer = optimizer
        self._objective = objective or Objective()
        self._clip_norm = clip_norm

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step; raises torch's error if not even single images fit in memory."""
        while True:
            try:
                loss, correct = self._gradients(inputs, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.parts >= len(inputs):
                    raise
            # Outside the handler, since the error's traceback references the tensors to free.
            self._optimizer.zero_grad(set_to_none=True)
            _release_memory(inputs.device)
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
    """Step recorded at the first batch and replayed for all batches of the same size.

    Batches of another size run eagerly.

    For small batches, launching kernels takes longer than running them; a graph launches all of
    them at once. Recording trains on the first batch; its changes are reverted before the first
    step.
    """

    def __init__(
        self,
        eager: EagerStep,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        record: Recorder,
    ) -> None:
        """`record` is `record_cuda_graph`, or another recorder."""
        self._eager = eager
        self._module = module
        self._optimizer = optimizer
        self._record = record
        self._replay: Callable[[], None] | None = None
        self.error = ""
        """Why steps could not be recorded and run eagerly; empty if they were recorded."""

    def __call__(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step."""
        if self._replay is None and not self.error:
            self._start_recording(inputs, targets)
        if self._replay is None or inputs.shape != self._inputs.shape:
            return self._eager(inputs, targets)
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._replay()
        return self._loss.clone(), self._correct.clone()

    def _start_recording(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()

        def work() -> None:
            self._loss, self._correct = self._eager(self._inputs, self._targets)

        before = _State(self._module, self._optimizer)
        try:
            self._replay = self._record(work)
        except RuntimeError as error:
            self.error = first_line(error)
        before.restore()


class _State:
    """State that a step changes, restored in place since a graph refers to its addresses."""

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
        """Restore parameters, buffers, optimizer state and random generator."""
        for tensor, value in zip(self._tensors, self._values, strict=True):
            tensor.copy_(value)
        for parameter, state in self._optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    # torch's optimizer state starts at zero; zero momentum is equivalent to none.
                    value.copy_(self._moments.get((parameter, name), torch.tensor(0.0)))
        set_generator_state(self._device, self._generator)


def record_cuda_graph(work: Callable[[], None]) -> Callable[[], None]:
    """Record `work` as a CUDA graph; raises RuntimeError if it synchronizes with the GPU."""
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
    """Return the state of the random generator that dropout uses on a device."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    if device.type == "mps":
        return torch.mps.get_rng_state()
    return torch.get_rng_state()


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Restore the result of `generator_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def _release_memory(device: torch.device) -> None:
    """Release cached memory to the device or the system."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory, on a GPU or on the host."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(word in str(error) for word in MEMORY_WORDS)
