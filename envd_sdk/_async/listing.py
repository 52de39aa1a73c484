"""The sandboxes a control plane knows, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from envd_sdk._async.api_client import AsyncApiClient
from envd_sdk.client.conversion import info_from
from envd_sdk.connection_config import ConnectionConfig
from envd_sdk.exceptions import SandboxException
from envd_sdk.sandbox_info import SandboxInfo, SandboxQuery


class AsyncSandboxPaginator:
    """Lists sandboxes. `next_items` gives a page; iterating gives them all, one by one.

    Attributes:
        has_next: there may be more.
        next_token: where the next page begins, for another paginator.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        query: SandboxQuery | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> None:
        self.has_next = True
        self.next_token = next_token
        self._config = config
        self._query = query or SandboxQuery()
        self._limit = limit

    async def next_items(self) -> list[SandboxInfo]:
        """The next page.

        Raises:
            SandboxException: there is none.
        """
        if not self.has_next:
            raise SandboxException("list sandboxes: there are no more; look at has_next before")
        states = None if self._query.state is None else [state.value for state in self._query.state]
        async with AsyncApiClient(self._config) as api:
            sandboxes, token = await api.get_v2_sandboxes(self._query.metadata, states, self._limit, self.next_token)
        self.next_token = token or None
        self.has_next = self.next_token is not None
        return [info_from(sandbox) for sandbox in sandboxes]

    async def __aiter__(self) -> AsyncIterator[SandboxInfo]:
        while self.has_next:
            for sandbox in await self.next_items():
                yield sandbox
