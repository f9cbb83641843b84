"""Many tasks ask about one thing each; one request asks about all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Batch(Generic[T]):
    """Answers each caller about its key, by ``ask``, for up to ``most`` keys at a time.

    While one request is under way those who come wait; the first of them then asks for
    all. So a lone caller loses no time, and a thousand make few requests.
    """

    def __init__(
        self, ask: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]], *, most: int
    ) -> None:
        self._ask = ask
        self._most = most
        self._waiting: list[_Question[T]] = []
        self._lock = trio.Lock()

    async def __call__(self, key: str) -> T | None:
        """Return the answer for ``key``, None where there is none; raises what ``ask`` raised."""
        question: _Question[T] = _Question(key)
        self._waiting.append(question)
        try:
            async with self._lock:
                if not question.is_answered:
                    await self._ask_for_all()
        finally:
            if question in self._waiting:  # cancelled
                self._waiting.remove(question)
        if question.error is not None:
            raise question.error
        return question.answer

    async def _ask_for_all(self) -> None:
        # Whoever asks is the first that waits: the lock is fair.
        questions = self._waiting[: self._most]
        answers: Mapping[str, T] = {}
        error: Exception | None = None
        try:  # cancelled, this leaves the questions to the next one
            answers = await self._ask([*dict.fromkeys(q.key for q in questions)])
        except Exception as exc:
            error = exc
        for question in questions:
            question.answer, question.error = answers.get(question.key), error
            question.is_answered = True
            if question in self._waiting:
                self._waiting.remove(question)


async def for_each(items: Iterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Do something with all items at once; one that fails does not end the others.

    Raises the first error when all have ended.
    """
    errors: list[Exception] = []

    async def attempt(item: T) -> None:
        try:
            await do(item)
        except Exception as exc:
            errors.append(exc)

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(attempt, item)
    if errors:
        raise errors[0]


class _Question(Generic[T]):
    """One key, and its answer once there is one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_answered = False
        self.answer: T | None = None
        self.error: Exception | None = None
