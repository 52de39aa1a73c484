"""Pieces of a content that can be sent again. No network and no clock in here."""

from __future__ import annotations

from collections import deque

from envd_sdk.exceptions import SandboxUnreachableException
from envd_sdk.uploads import cut


class ReplayBuffer:
    """Pieces as they came from their source, each kept until `forget`. Counted from the first there ever was.

    Attributes:
        size: bytes that are kept.
    """

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[memoryview] = deque()
        self._forgotten = 0
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def over(self) -> bool:
        """Whether the source has ended. One that failed goes on failing: asked once more it would say it had ended."""
        if self._failure is not None:
            raise self._failure
        return self._ended

    def has(self, index: int) -> bool:
        """Whether a piece has come.

        Raises:
            SandboxUnreachableException: it was forgotten.
        """
        if index < self._forgotten:
            raise SandboxUnreachableException("the connection broke, and what was sent over it cannot be had again")
        return index - self._forgotten < len(self._pieces)

    def get(self, index: int) -> memoryview:
        return self._pieces[index - self._forgotten]

    def whole(self) -> bytes:
        """All that is kept."""
        return b"".join(self._pieces)

    def add(self, piece: str | bytes | memoryview) -> None:
        """Keep a piece, cut small."""
        for part in cut(piece):
            self._pieces.append(part)
            self.size += len(part)

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more comes."""
        self._ended, self._failure = True, failure

    def forget(self, end: int) -> None:
        """Let go of the pieces before that one."""
        while self._forgotten < end and self._pieces:
            self.size -= len(self._pieces.popleft())
            self._forgotten += 1

    def forget_bytes(self, size: int) -> int:
        """Let go of the first pieces that have so many bytes; the number of the one behind them."""
        target = self.size - size
        while self.size > target:
            self.forget(self._forgotten + 1)
        return self._forgotten
