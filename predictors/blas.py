"""One BLAS thread for the predictors' algebra: their matrices are small, and threads only wait for each other.

OpenBLAS's threads spin. Beside other processes a fit on a thousand rows took minutes with two threads and seconds with
one; on a quiet machine two are hardly faster. With one thread, results do not depend on the machine's cores either.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def one_blas_thread(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """The function, with one BLAS thread in this process while it runs."""

    @wraps(function)
    def limited(*args: _Given.args, **options: _Given.kwargs) -> _Result:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **options)

    return limited


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # it looks for them once, which takes milliseconds
