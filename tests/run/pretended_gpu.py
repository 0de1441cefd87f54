"""A pretended GPU: its tensors hold CPU values, and it notes what a real GPU would not do.

Everything is computed by the CPU's kernels, to the CPU's bits, so whole runs can be trained on it.
To Python, its tensors are on `cuda:0`. To PyTorch's C++ code they are on `lazy`, a device type that
has no kernels in this build, and whose backward passes run in the calling thread. Each operation
passes through a dispatch mode, which notes it with file and line of the package if it

- mixes devices, as in a sum of a tensor on the GPU and one on the CPU;
- has no deterministic kernel on CUDA, so that CUDA would refuse it;
- makes the CPU wait for the GPU, because Python reads a value, the size of a result depends on
  values, or memory is copied that is not pinned;
- is a copy of at most 64 KB to the GPU that need not wait.

It sees operations, not kernels: a kernel that waits inside is seen only if it is listed here.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from cuda_operations import GRADIENT_WAITS, INDEXING, NOT_DETERMINISTIC, SCATTERS, SIZES, WAITS
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import soteacher
from soteacher.core import lazy
from soteacher.training import device as devices
from soteacher.training.learner import Diverged

PACKAGE = Path(soteacher.__file__).parent
CUDA = torch.device("cuda", 0)
STAND_IN = torch.device("lazy", 0)
"""The device of the tensors in C++. A backward pass on `cuda` needs a driver."""
SMALL = 64 * 1024
"""Bytes up to which CUDA copies memory that is not pinned without a wait, if it is told to."""

LITERALS = ("tensor", "as_tensor")
"""Functions of torch that make a tensor of Python's numbers."""

MIXED, REFUSED, WAIT, SMALL_COPY = "mixed devices", "refused", "wait", "small copy"
ERROR = "error"
"""The kinds of notes."""


@dataclass(frozen=True)
class Note:
    """One operation that a GPU would refuse, wait for, or copy for."""

    phase: str
    """The part of the job in which it ran, for example `step`."""
    kind: str
    operation: str
    file: str
    """Path in the package."""
    line: int
    why: str = ""

    def __str__(self) -> str:
        """Return the line of a test's message."""
        why = f" ({self.why})" if self.why else ""
        place = f"soteacher/{self.file}:{self.line}" if self.file else "outside of soteacher"
        return f"{self.kind} in {self.phase}: {self.operation}{why} at {place}"


class DeviceTensor(torch.Tensor):
    """A tensor on the pretended GPU; `held` has its values, on the CPU."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> DeviceTensor:
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=STAND_IN,
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} of a tensor on the pretended GPU, which is not in use now")

    def __repr__(self, **_: Any) -> str:
        return f"{self.cpu()!r} on {CUDA}"

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if self.dim() == 0 else repr(self)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("a tensor on the GPU has no NumPy array: copy it with .cpu() first")

    def __array__(self, *_: Any) -> Any:
        self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)

    def get_device(self) -> int:
        return CUDA.index

    def new_tensor(self, data: Any, **how: Any) -> torch.Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA} | how)

    def __getitem__(self, index: Any) -> torch.Tensor:
        return super().__getitem__(_with_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, int | float):  # torch makes a CPU tensor of a number
            value = torch.tensor(value, dtype=self.dtype)
        super().__setitem__(_with_tensors(index), value)


MOVE = torch.Tensor.to


def _moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Do what `Tensor.to` does: C++ would ask the driver which device `cuda` is."""
    kwargs = {name: _stand_in(value) for name, value in kwargs.items()}
    return MOVE(tensor, *map(_stand_in, args), **kwargs)


def _stand_in(value: Any) -> Any:
    """Return the device that C++ knows in place of `cuda`; other values stay."""
    is_device = isinstance(value, torch.device) or (isinstance(value, str) and "cuda" in value)
    return STAND_IN if is_device and on_gpu(value) else value


def _with_tensors(index: Any) -> Any:
    """Return an index with CPU tensors in place of its lists: torch makes them the same way."""
    if isinstance(index, tuple):
        return tuple(map(_with_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


def on_gpu(device: Any) -> bool:
    """Return whether a device, or its name, is the pretended GPU's."""
    return device is not None and torch.device(device).type in ("cuda", "lazy")


class Generator(torch.Generator):
    """A generator on any device; on the pretended GPU it draws the CPU's numbers."""

    on_gpu: ClassVar[dict[int, Generator]] = {}
    """Those on the GPU, by address: operations get another Python object of the same generator."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        if not on_gpu(device):
            return super().__new__(cls, device)
        made = super().__new__(cls, "cpu")
        cls.on_gpu[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA if self._cdata in self.on_gpu else super().device


class PretendedGPU(TorchDispatchMode):
    """A context in which `cuda` is the pretended GPU; `notes` has what a real GPU would not do."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Note] = []
        self.phases = ["elsewhere"]
        """The parts of the job that are running, the innermost last."""
        self.calls: Counter[str] = Counter()
        """Number of times that each part has begun since this context was entered."""
        self._forward_lines: dict[int, tuple[str, int]] = {}
        """Number of a node of the backward graph to the line that made it."""
        self._patches = pytest.MonkeyPatch()

    def __enter__(self) -> PretendedGPU:
        self.calls.clear()
        for owner, name, value in self._stand_ins():
            self._patches.setattr(owner, name, value)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.undo()

    def _stand_ins(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield owner, name and value of the functions that a machine with a GPU has."""
        cuda = torch.cuda
        yield devices, "diagnose", lambda: None  # its answer would be kept for later tests
        yield cuda, "_lazy_init", lambda: None
        yield cuda, "is_available", lambda: True
        yield cuda, "device_count", lambda: 1
        yield cuda, "current_device", lambda: 0
        yield cuda, "is_current_stream_capturing", lambda: False
        yield cuda, "get_device_name", lambda *_: "a pretended GPU"
        yield cuda, "get_device_capability", lambda *_: (9, 0)
        yield cuda, "is_tf32_supported", lambda: True
        yield cuda, "mem_get_info", lambda *_: (80 * 10**9, 80 * 10**9)
        yield cuda, "reset_peak_memory_stats", lambda *_: None
        yield cuda, "max_memory_allocated", lambda *_: 0
        for owner, name in ((cuda, "synchronize"), (cuda, "empty_cache")):
            yield owner, name, partial(self._call_that_waits, f"torch.cuda.{name}")
        wait = partial(self._call_that_waits, "synchronize")
        yield torch.accelerator, "synchronize", wait
        yield cuda, "current_stream", lambda *_: SimpleNamespace(synchronize=wait)
        yield torch.Tensor, "to", _moved
        yield torch.Tensor, "cuda", lambda tensor, *_, **how: tensor.to(CUDA, **how)
        # torch moves the result of these two with all modes switched off
        made = {name: partial(self._new_tensor, getattr(torch, name)) for name in LITERALS}
        for owner in (lazy.torch, torch):  # the former keeps what it has once looked up
            for name, value in {"Generator": Generator, **made}.items():
                yield owner, name, value

    def _call_that_waits(self, name: str, *_: Any) -> None:
        self._note(WAIT, name)

    def _new_tensor(self, make: Any, data: Any, *, device: Any = None, **how: Any) -> torch.Tensor:
        if isinstance(data, DeviceTensor):
            copy = data.detach().clone() if make.__name__ == "tensor" else data
            return copy.to(*filter(None, (device, how.get("dtype"))))
        made = make(_read(data), **how)
        return made.to(device) if on_gpu(device) else made

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Notes made inside belong to this part of the job."""
        self.phases.append(name)
        self.calls[name] += 1
        try:
            yield
        except Exception as error:
            if not isinstance(error, Diverged) and not hasattr(error, "noted"):
                frames = traceback.extract_tb(error.__traceback__)
                places = [(_in_package(f.filename), f.lineno or 0) for f in frames]
                place = next((place for place in reversed(places) if place[0]), ("", 0))
                self.notes.append(Note(name, ERROR, type(error).__name__, *place, str(error)))
                error.noted = True  # type: ignore[attr-defined]
            raise
        finally:
            self.phases.pop()

    def _note(self, kind: str, operation: str, why: str = "") -> None:
        self.notes.append(Note(self.phases[-1], kind, operation, *self._place(), why))

    def _place(self) -> tuple[str, int]:
        """Return file and line of the package that an operation comes from.

        An operation of a backward pass comes from the line that computed what is derived.
        """
        frame: Any = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_name == "_engine_run_backward":
                number = torch._C._current_autograd_node()._sequence_nr()
                if number in self._forward_lines:
                    return self._forward_lines[number]
            if place := _in_package(frame.f_code.co_filename):
                return place, frame.f_lineno
            frame = frame.f_back
        return "", 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        target = kwargs.get("device")
        here = _tensors(args, kwargs)
        ours = [tensor for tensor in here if isinstance(tensor, DeviceTensor)]
        name = func._schema.name.removeprefix("aten::")
        if name in ("_pin_memory", "is_pinned") and not ours:
            return _pinned(args[0]) if name == "is_pinned" else _pin(args[0])
        self._check_generator(name, kwargs.get("generator"), bool(ours) or on_gpu(target))
        if not ours and not on_gpu(target):
            return func(*args, **kwargs)
        if torch.is_grad_enabled():
            self._forward_lines[torch.autograd._get_sequence_nr() - 1] = self._place()
        others = [tensor for tensor in here if not isinstance(tensor, DeviceTensor)]
        self._check(func, name, args, kwargs, ours, others)
        return self._computed(func, name, args, kwargs)

    def _check_generator(self, name: str, generator: Any, on_device: bool) -> None:
        if generator is not None and (generator._cdata in Generator.on_gpu) != on_device:
            self._note(MIXED, name, "its generator is on another device")

    def _check(self, func, name, args, kwargs, ours, others) -> None:
        """Note what a GPU would not do in one operation."""
        full = f"{name}.{func._overloadname}".removesuffix(".default").removesuffix(".")
        if name in ("_to_copy", "copy_"):
            self._check_copy(name, args, kwargs)
        elif name in INDEXING:
            self._check_indices(name, args, others)
        elif ours and others:
            # a CPU tensor without dimensions counts as a number
            numbers = torch.Tag.pointwise in func.tags or name in ("fill_", "masked_fill_", "fill")
            if not numbers or any(tensor.dim() for tensor in others):
                shapes = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in (*ours, *others))
                self._note(MIXED, name, shapes)
        if why := WAITS.get(name):
            self._note(WAIT, name, why)
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            self._note(WAIT, name, SIZES)
        if name in GRADIENT_WAITS and any(tensor.requires_grad for tensor in ours):
            self._note(WAIT, name, "its gradient looks for zeros")
        if full in SCATTERS and args[0].dim() > 1:
            self._note(WAIT, name, "deterministic, of more than one dimension")
        weighted = name == "bincount" and len(others + ours) > 1
        product = name.startswith("scatter_reduce") and "prod" in args
        largest = name == "_embedding_bag_backward" and args[8] == 2
        if {name, full} & NOT_DETERMINISTIC or weighted or product or largest:
            self._note(REFUSED, name, "no deterministic kernel on CUDA")

    def _check_copy(self, name: str, args: Any, kwargs: Any) -> None:
        if name == "copy_":
            (goal, source), rest = args[:2], args[2:]
            to, non_blocking = isinstance(goal, DeviceTensor), bool(rest and rest[0])
        else:
            source, target = args[0], kwargs.get("device")
            to = isinstance(source, DeviceTensor) if target is None else on_gpu(target)
            non_blocking = False
        non_blocking = non_blocking or bool(kwargs.get("non_blocking"))
        if isinstance(source, DeviceTensor) and not to:
            self._note(WAIT, name, "copies from the GPU")
        elif to and not isinstance(source, DeviceTensor):
            if not non_blocking:
                self._note(WAIT, name, "copies to the GPU, and is not non_blocking")
            elif not _pinned(source):
                small = source.nbytes <= SMALL
                self._note(SMALL_COPY if small else WAIT, name, "from memory that is not pinned")

    def _check_indices(self, name: str, args: Any, others: list[torch.Tensor]) -> None:
        goal, indices = args[:2]
        value = args[2] if len(args) > 2 else None
        masks = [i for i in indices if i is not None and i.dtype in (torch.bool, torch.uint8)]
        foreign = [i for i in indices if i is not None and not isinstance(i, DeviceTensor)]
        is_number = value is not None and not isinstance(value, DeviceTensor) and value.dim() == 0
        if not isinstance(goal, DeviceTensor) or any(
            tensor.dim() for tensor in others if not any(tensor is index for index in foreign)
        ):
            self._note(MIXED, name)
        elif foreign:
            self._note(WAIT, name, "its index is on the CPU")
        elif masks and not (is_number and len(masks) == sum(i is not None for i in indices)):
            self._note(WAIT, name, "its index is a mask: the size depends on values")

    def _computed(self, func, name: str, args: Any, kwargs: Any) -> Any:
        """Compute an operation on the CPU; return its results as tensors on the GPU."""
        inner = {name: _held(value) for name, value in kwargs.items()}
        if "device" in inner and inner["device"] is not None:
            inner["device"] = torch.device("cpu")
        if inner.get("pin_memory"):
            inner["pin_memory"] = False
        results = func(*map(_held, args), **inner)
        if name == "_local_scalar_dense":
            return results
        if name == "_to_copy" and kwargs.get("device") is not None and not on_gpu(kwargs["device"]):
            return results.clone() if results is args[0].held else results
        if torch.Tag.inplace_view in func.tags:  # the tensor itself gets another shape, too
            return return_and_correct_aliasing(func, args, kwargs, _wrapped(results))
        if (written := _written(func)) is not None:
            return args[written] if isinstance(written, int) else kwargs[written]
        if isinstance(results, tuple | list):
            return type(results)(_wrapped(value) for value in results)
        return _wrapped(results)


@cache
def _in_package(file: str) -> str:
    """Return the path of a file in the package, or "" for other files."""
    path = Path(file)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else ""


@cache
def _written(func: Any) -> int | str | None:
    """Return the argument that an operation returns after it has written to it, or None."""
    [*returned] = func._schema.returns
    if len(returned) != 1 or returned[0].alias_info is None or not returned[0].alias_info.is_write:
        return None
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return argument.name if argument.kwarg_only else position
    return None


def _tensors(args: Any, kwargs: Any) -> list[torch.Tensor]:
    found = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [part for part in value if isinstance(part, torch.Tensor)]
    return found


def _held(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.held
    if isinstance(value, list | tuple):
        return type(value)(_held(part) for part in value)
    return value


def _wrapped(value: Any) -> Any:
    return DeviceTensor(value) if isinstance(value, torch.Tensor) else value


def _read(data: Any) -> Any:
    """Return nested lists with numbers in place of tensors on the GPU."""
    if isinstance(data, list | tuple):
        return [_read(part) for part in data]
    return data.tolist() if isinstance(data, DeviceTensor) else data


def _pin(tensor: torch.Tensor) -> torch.Tensor:
    pinned = tensor.clone()
    pinned.is_pinned_memory = True  # type: ignore[attr-defined]
    return pinned


def _pinned(tensor: torch.Tensor) -> bool:
    return getattr(tensor, "is_pinned_memory", False)
