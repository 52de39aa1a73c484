"""Methods that are called on a class, with a sandbox's id, or on an instance, which knows its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

On = ParamSpec("On")
Of = ParamSpec("Of")
R = TypeVar("R")
S = TypeVar("S")
Self_ = TypeVar("Self_")


class HybridMethod(Generic[Self_, On, R, Of, S]):
    """A descriptor that calls one function on the class and another on an instance."""

    def __init__(
        self, instance: Callable[Concatenate[Self_, On], R], of_class: Callable[Concatenate[Any, Of], S]
    ) -> None:
        self._instance = instance
        self._of_class = of_class
        functools.update_wrapper(self, instance)  # type: ignore[arg-type]

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Of, S]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[On, R]: ...

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            # Class methods cannot be called before they are looked up.
            return functools.partial(getattr(self._of_class, "__func__", self._of_class), owner)
        return functools.partial(self._instance, instance)  # type: ignore[arg-type]
