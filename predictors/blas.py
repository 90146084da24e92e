"""One BLAS thread for the predictors' linear algebra, whose matrices are too small for more.

OpenBLAS's threads spin while they wait. On a busy machine a fit on a thousand rows took minutes with two
threads and seconds with one; on an idle machine two are hardly faster. With one thread, results do not
depend on the number of cores either.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def one_blas_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorates ``function`` so that this process has one BLAS thread while it runs."""

    @wraps(function)
    def limited(*args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **options)

    return limited


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds
