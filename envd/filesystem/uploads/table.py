"""All uploads: begun, found again, committed, ended."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from envd.config import Uploads
from envd.errors import Code, EnvdError
from envd.filesystem.threads import Threads
from envd.filesystem.writing.temporary import Temporaries
from envd.host.unreadable import UNREADABLE
from envd.host.users import User

from . import gathering
from .committing import Committer
from .gathering import Beginning, Gathered
from .part import Start, UploadPart
from .slots import UploadSlot, UploadSlots
from .state import Committed, UploadOptions, UploadState, from_bytes
from .upload import MultipartUpload

log = logging.getLogger("envd.filesystem")


class UploadTable:
    """The uploads of all users, also those that an earlier server process has left.

    Args:
        slots: where they are written down; empty, or as that process left them.
        threads: where files are touched.
        temporaries: know of a file that has a hidden name before it is written down.
        config: how much of everything there may be, and for how long.
        idle_s: without a byte, a part ends.
        helped: the daemon's own rights help where a user may not write and only root has a say.
    """

    def __init__(
        self,
        slots: UploadSlots,
        threads: Threads,
        temporaries: Temporaries,
        config: Uploads,
        *,
        idle_s: float,
        helped: bool,
    ) -> None:
        self.config = config
        self._idle_s = idle_s
        self._helped = helped
        self._slots = slots
        self._temporaries = temporaries
        self._threads = threads
        self._committer = Committer(temporaries, helped=helped)
        self._numbers = 0
        self._creating: dict[tuple[str, str], asyncio.Event] = {}
        self._all: dict[str, MultipartUpload] = {}
        for slot, value in slots.load():
            try:
                ident, state, extents = from_bytes(value)
            except UNREADABLE:
                log.exception("an upload of an earlier server cannot be read: it is forgotten")
                slots.give_back(slot)
            else:
                self._all[ident] = MultipartUpload(ident, slot, state, threads, extents)

    def find(self, ident: str, user: str) -> MultipartUpload:
        """Return a user's upload.

        Raises:
            EnvdError: NOT_FOUND if there is none by that name, or it is another user's.
        """
        upload = self._all.get(ident)
        if upload is None or upload.state.terms.user != user:
            raise EnvdError(
                Code.NOT_FOUND, f"there is no upload '{ident[:80]}': it may have expired, been aborted, or never been"
            )
        return upload

    def of(self, user: str, after: str, limit: int) -> list[MultipartUpload]:
        """Return a user's uploads in the order of their names, at most `limit` of those behind a name."""
        names = sorted(name for name, one in self._all.items() if name > after and one.state.terms.user == user)
        return [self._all[name] for name in names[:limit]]

    def expires_in(self, upload: MultipartUpload) -> float:
        """Return after how many seconds an upload is removed, or a committed one forgotten."""
        bounds, state = self.config, upload.state
        lifetime = bounds.expiry_s if state.committed is None else bounds.committed_s
        return state.touched + lifetime - time.monotonic()

    async def create(self, terms: UploadOptions, owner: User) -> tuple[MultipartUpload, bool]:
        """Begin an upload, or find the one with the same key; then the second value is True.

        Raises:
            EnvdError: as gathering.begin; ALREADY_EXISTS if that one has other terms.
        """
        if not terms.key:
            return await self._create(terms, owner), False
        name = (terms.user, terms.key)
        while (other := self._creating.get(name)) is not None:
            await other.wait()
        self._creating[name] = created = asyncio.Event()
        try:
            known = self._known(terms)
            if known is not None and not await self._was_never_made(known):
                return known, True
            return await self._create(terms, owner), False
        finally:
            del self._creating[name]
            created.set()

    def _known(self, terms: UploadOptions) -> MultipartUpload | None:
        for upload in self._all.values():
            known = upload.state.terms
            if (known.user, known.key) == (terms.user, terms.key):
                if known != terms:
                    raise EnvdError(
                        Code.ALREADY_EXISTS,
                        f"this idempotency key is that of upload {upload.ident}, which has another path or options",
                    )
                return upload
        return None

    async def _was_never_made(self, upload: MultipartUpload) -> bool:
        """Forget an upload if a server was killed between writing it down and making its file; tell whether it was."""
        if upload.extents or upload.state.committed is not None:
            return False
        try:
            await upload.threads.settle(gathering.check, upload.state.kept)
        except EnvdError as exc:
            if exc.code is not Code.NOT_FOUND:
                raise
            self._forget(upload)
            return True
        return False

    async def _create(self, terms: UploadOptions, owner: User) -> MultipartUpload:
        intent = terms.intent(owner, helped=self._helped)
        try:
            return await self._make(terms, partial(gathering.begin, terms.path, intent, self._temporaries, terms.size))
        except EnvdError as exc:
            return await self._make(
                terms, partial(gathering.begin_elsewhere, terms.path, intent, self._temporaries, exc)
            )

    async def _make(self, terms: UploadOptions, begin: Callable[[], Beginning]) -> MultipartUpload:
        async with self._threads.at(terms.path).holding(begin, Beginning.close) as held:
            state = UploadState(terms, held.it.kept, time.monotonic())
            upload = MultipartUpload(secrets.token_hex(16), self._slot(), state, self._threads)
            self._all[upload.ident] = upload
            try:
                # Written down first: so a server that is killed now leaves no file that nobody knows of.
                upload.write_down(upload.state)
                await held.run(held.it.name)
            except BaseException:
                await self._remove(upload)
                raise
        log.info("upload begun", extra={"upload": upload.ident})
        return upload

    def _slot(self) -> UploadSlot:
        committed = [one for one in self._all.values() if one.state.committed is not None and not one.turn.locked()]
        if len(self._all) >= self.config.at_once and committed:
            self._forget(min(committed, key=lambda one: one.state.touched))
        return self._slots.take()

    @asynccontextmanager
    async def part(self, upload: MultipartUpload, start: Start) -> AsyncIterator[UploadPart]:
        """Take a part: put what arrives, then finish. Leaving the block without that leaves it not received.

        Raises:
            EnvdError: the upload does not take it; or, out of the block, what stopped it.
        """
        part = self._admit(upload, start)
        try:
            opening = partial(Gathered, upload.state.kept)
            async with self._threads.at(upload.state.kept.directory).holding(opening, Gathered.close) as held:
                async with asyncio.timeout(None) as patience:
                    with part.attending(held, patience, self._idle_s):
                        yield part
        except TimeoutError as exc:
            raise part.leave() or _silent(self._idle_s) from exc
        except EnvdError as exc:
            if (failure := part.leave()) is not None and failure is not exc:
                raise failure from exc
            raise
        finally:
            part.leave()

    def _admit(self, upload: MultipartUpload, start: Start) -> UploadPart:
        upload.check_open()
        upload.check_end(start.offset + (start.length or 0))
        if len(upload.parts) >= self.config.parts:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"{self.config.parts} parts of this upload are under way already: wait for one"
            )
        if sum(len(one.parts) for one in self._all.values()) >= self.config.parts_of_all:
            raise EnvdError(
                Code.RESOURCE_EXHAUSTED, f"{self.config.parts_of_all} parts are under way already: wait for one"
            )
        self._numbers += 1
        part = UploadPart(upload, self._numbers, start)
        upload.parts.add(part)
        return part

    async def commit(self, upload: MultipartUpload, owner: User, size: int | None, sha256: str | None) -> Committed:
        """Put an upload in place; once it is there, only say so again, if that is what was meant.

        Parts under way are ended: all they could bring is there. If anything fails the upload stays as it is, and takes
        parts again.

        Args:
            upload: which.
            owner: to whom the file belongs then.
            size: None: as announced, or as far as it reaches.
            sha256: in hexadecimal; None if it is not to be compared.

        Raises:
            EnvdError: FAILED_PRECONDITION if bytes are missing or a condition does not hold, DATA_LOSS if the content
                is another one; as put_in_place.
        """
        async with upload.turn:
            self.find(upload.ident, upload.state.terms.user)  # aborted while we waited?
            done = await self._committer.outcome(upload)
            if done is None:
                return await self._committer.commit(upload, owner, size, sha256)
            self._committer.check_again(upload, size, sha256)
            return done

    async def abort(self, upload: MultipartUpload) -> None:
        """End an upload, and remove what was received.

        Raises:
            EnvdError: FAILED_PRECONDITION if it was committed, NOT_FOUND if it was aborted meanwhile.
        """
        async with upload.turn:
            self.find(upload.ident, upload.state.terms.user)
            if await self._committer.outcome(upload) is not None:
                raise EnvdError(Code.FAILED_PRECONDITION, f"upload {upload.ident} was committed: the file is in place")
            await self._remove(upload)

    async def _remove(self, upload: MultipartUpload) -> None:
        await upload.close(_ended)
        await upload.threads.settle(gathering.remove, upload.state.kept)
        self._forget(upload)

    def _forget(self, upload: MultipartUpload) -> None:
        if self._all.pop(upload.ident, None) is not None:
            self._slots.give_back(upload.slot)

    async def sweep(self) -> None:
        """Remove what has expired, from time to time, for ever; at first what an earlier process did not come to."""
        for upload in list(self._all.values()):
            if upload.state.committed is not None:
                await self._committer.tidy(upload)
        while True:
            await asyncio.sleep(min(max(min(self.config.expiry_s, self.config.committed_s) / 4, 0.05), 60.0))
            for upload in list(self._all.values()):
                if self.expires_in(upload) <= 0 and not upload.parts and not upload.turn.locked():
                    await self._expire(upload)

    async def _expire(self, upload: MultipartUpload) -> None:
        async with upload.turn:
            if upload.state.committed is not None:
                self._forget(upload)
                return
            try:
                await self._remove(upload)
            except EnvdError as exc:
                log.warning("expired upload stays for now", extra={"upload": upload.ident, "reason": exc.message})
            else:
                log.info("upload expired", extra={"upload": upload.ident})

    async def close(self, grace_s: float) -> None:
        """Remove what was not committed, for nobody will know of it any more; what takes longer stays."""
        try:
            async with asyncio.timeout(grace_s), asyncio.TaskGroup() as removals:
                for upload in list(self._all.values()):
                    removals.create_task(self._remove_in_the_end(upload))
        except TimeoutError:
            log.warning("uploads left behind: their file systems do not answer")

    async def _remove_in_the_end(self, upload: MultipartUpload) -> None:
        try:
            async with upload.turn:
                if upload.state.committed is None:
                    await self._remove(upload)
        except EnvdError as exc:
            log.warning("upload left behind", extra={"upload": upload.ident, "reason": exc.message})


def _ended() -> EnvdError:
    return EnvdError(Code.ABORTED, "the part was not received: its upload was aborted or has expired")


def _silent(idle_s: float) -> EnvdError:
    return EnvdError(Code.DEADLINE_EXCEEDED, f"no byte of the part for {idle_s:g} s")
