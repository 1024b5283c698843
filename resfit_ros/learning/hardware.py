"""Settings of this process that make updates fast on the machine at hand."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from resfit_ros.core.learning_config import BFLOAT16

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST_KEPT_BLOCK = 32 << 20  # bytes; glibc's upper bound of M_MMAP_THRESHOLD
_KEPT = 1 << 30  # bytes


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Matrix products of float32 tensors inside use `precision` arithmetic, float32 sums.

    bfloat16 takes the matrix units of recent processors (AMX, or TF32-like tensor cores on a GPU)
    and rounds the factors to 8 bits; without such units it is no faster. The setting belongs to the
    process, so it is put back: the base policy must give the same actions here as on the robot.
    """
    on_cpu, on_gpu = torch.backends.mkldnn.matmul, torch.backends.cuda.matmul
    before = on_cpu.fp32_precision, on_gpu.fp32_precision
    if precision == BFLOAT16:
        on_cpu.fp32_precision, on_gpu.fp32_precision = "bf16", "tf32"
    try:
        yield
    finally:
        on_cpu.fp32_precision, on_gpu.fp32_precision = before


def keep_freed_memory() -> None:
    """Freed tensors stay in the process for the next ones.

    An update frees and takes again some hundred megabytes; handed back to the system each time, they
    cost a page fault per 4 KiB. Only glibc has the setting; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)
