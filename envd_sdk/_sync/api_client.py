# Made by scripts/unasync from envd_sdk/_async/api_client.py; change that one.
"""The control plane's REST API, one method for each endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from envd_sdk._wire.blocking import sleep
from envd_sdk.client import models
from envd_sdk.client.answers import ATTEMPTS, delay_s, failure
from envd_sdk.client.client import AuthenticatedClient, load_httpx
from envd_sdk.exceptions import SandboxUnreachableException, TimeoutException

_SAFE = ("GET", "DELETE")


class ApiClient(AuthenticatedClient):
    """Calls the control plane. Use it in a `with` statement, or `close` it.

    Each method is an endpoint: its HTTP method and path are its name. Failures are exceptions of envd_sdk.exceptions.
    Where the control plane asks for it (429, 503), and reads also where a gateway failed, a request is made again up to
    three times.
    """

    _http: Any = None

    def get_httpx_client(self) -> Any:
        """The httpx client that is used."""
        if self._http is None:
            self._http = load_httpx().Client(**self.options())
        return self._http

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        about_sandbox: bool = False,
    ) -> Any:
        """Make one request, and return httpx's response to it.

        Args:
            timeout_s: seconds; None is the configuration's.

        Raises:
            SandboxException: of the kind that fits.
        """
        httpx, doing = load_httpx(), f"{method} {self.base_url}{path}"
        # An httpx response: that library has no types here until it is needed.
        limit = self.config.request_timeout if timeout_s is None else timeout_s or None
        query = {name: value for name, value in (params or {}).items() if value is not None}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self.get_httpx_client().request(
                    method, path, json=json, params=query, headers=headers, timeout=httpx.Timeout(limit)
                )
            except httpx.TimeoutException as error:
                raise TimeoutException(f"{doing}: no answer within {limit} s") from error
            except httpx.TransportError as error:
                if method not in _SAFE or attempt == ATTEMPTS:
                    raise SandboxUnreachableException(f"{doing}: {error or type(error).__name__}") from error
                sleep(0.1 * 2**attempt)
                continue
            if answer.is_success:
                return answer
            pause_s = delay_s(answer.status_code, answer.headers, attempt, safe=method in _SAFE)
            if pause_s is None:
                raise failure(answer.status_code, answer.content, doing=doing, about_sandbox=about_sandbox)
            sleep(pause_s)
        raise AssertionError("the last attempt has returned or raised")

    def get_health(self) -> None:
        self.request("GET", "/health")

    def get_sandboxes(self, metadata: Mapping[str, str] | None = None) -> list[models.ListedSandbox]:
        """The sandboxes that run; with metadata, those that have all of it."""
        answer = self.request("GET", "/sandboxes", params={"metadata": _metadata(metadata)})
        return [models.ListedSandbox.from_dict(sandbox) for sandbox in answer.json()]

    def get_v2_sandboxes(
        self,
        metadata: Mapping[str, str] | None = None,
        state: list[str] | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> tuple[list[models.ListedSandbox], str | None]:
        """One page of the sandboxes there are, and what to ask the next one with."""
        params = {
            "metadata": _metadata(metadata),
            "state": ",".join(state) if state else None,
            "limit": limit,
            "nextToken": next_token,
        }
        answer = self.request("GET", "/v2/sandboxes", params=params)
        return [models.ListedSandbox.from_dict(sandbox) for sandbox in answer.json()], answer.headers.get(
            "x-next-token"
        )

    def post_sandboxes(self, body: models.NewSandbox, *, timeout_s: float | None = None) -> models.Sandbox:
        """Make a sandbox."""
        answer = self.request("POST", "/sandboxes", json=body.to_dict(), timeout_s=timeout_s)
        return models.Sandbox.from_dict(answer.json())

    def get_sandboxes_sandbox_id(self, sandbox_id: str, *, timeout_s: float | None = None) -> models.SandboxDetail:
        answer = self._sandbox("GET", sandbox_id, "", timeout_s=timeout_s)
        return models.SandboxDetail.from_dict(answer.json())

    def delete_sandboxes_sandbox_id(self, sandbox_id: str, *, timeout_s: float | None = None) -> None:
        """End a sandbox."""
        self._sandbox("DELETE", sandbox_id, "", timeout_s=timeout_s)

    def post_sandboxes_sandbox_id_timeout(
        self, sandbox_id: str, timeout: int, *, timeout_s: float | None = None
    ) -> None:
        """Let a sandbox live for so many seconds from now."""
        self._sandbox("POST", sandbox_id, "/timeout", json={"timeout": timeout}, timeout_s=timeout_s)

    def post_sandboxes_sandbox_id_refreshes(self, sandbox_id: str, duration: int | None = None) -> None:
        """Let a sandbox live for so many seconds more."""
        self._sandbox("POST", sandbox_id, "/refreshes", json={} if duration is None else {"duration": duration})

    def post_sandboxes_sandbox_id_connect(
        self, sandbox_id: str, timeout: int, *, timeout_s: float | None = None
    ) -> models.Sandbox:
        """A sandbox that can be used; one that was paused is resumed."""
        answer = self._sandbox("POST", sandbox_id, "/connect", json={"timeout": timeout}, timeout_s=timeout_s)
        return models.Sandbox.from_dict(answer.json())

    def post_sandboxes_sandbox_id_pause(self, sandbox_id: str, *, timeout_s: float | None = None) -> None:
        self._sandbox("POST", sandbox_id, "/pause", json={}, timeout_s=timeout_s)

    def post_sandboxes_sandbox_id_resume(self, sandbox_id: str, body: models.ResumedSandbox) -> models.Sandbox:
        answer = self._sandbox("POST", sandbox_id, "/resume", json=body.to_dict())
        return models.Sandbox.from_dict(answer.json())

    def get_sandboxes_sandbox_id_logs(
        self, sandbox_id: str, start: int | None = None, limit: int | None = None
    ) -> models.SandboxLogs:
        """What a sandbox logged. `start` is in milliseconds since 1970."""
        answer = self._sandbox("GET", sandbox_id, "/logs", params={"start": start, "limit": limit})
        return models.SandboxLogs.from_dict(answer.json())

    def get_sandboxes_sandbox_id_metrics(
        self, sandbox_id: str, start: int | None = None, end: int | None = None, *, timeout_s: float | None = None
    ) -> list[models.SandboxMetric]:
        """What a sandbox used. `start` and `end` are in seconds since 1970."""
        params = {"start": start, "end": end}
        answer = self._sandbox("GET", sandbox_id, "/metrics", params=params, timeout_s=timeout_s)
        return [models.SandboxMetric.from_dict(metric) for metric in answer.json()]

    def get_sandboxes_metrics(
        self, metadata: Mapping[str, str] | None = None
    ) -> list[models.RunningSandboxWithMetrics]:
        answer = self.request("GET", "/sandboxes/metrics", params={"metadata": _metadata(metadata)})
        return [models.RunningSandboxWithMetrics.from_dict(sandbox) for sandbox in answer.json()]

    def get_templates(self, team_id: str | None = None) -> list[models.Template]:
        answer = self.request("GET", "/templates", params={"teamID": team_id})
        return [models.Template.from_dict(template) for template in answer.json()]

    def post_templates(self, body: models.TemplateBuildRequest) -> models.Template:
        answer = self.request("POST", "/templates", json=body.to_dict())
        return models.Template.from_dict(answer.json())

    def patch_templates_template_id(self, template_id: str, body: models.TemplateUpdateRequest) -> None:
        self.request("PATCH", f"/templates/{quote(template_id, safe='')}", json=body.to_dict())

    def delete_templates_template_id(self, template_id: str) -> None:
        self.request("DELETE", f"/templates/{quote(template_id, safe='')}")

    def get_templates_template_id_builds_build_id(self, template_id: str, build_id: str) -> models.TemplateBuild:
        path = f"/templates/{quote(template_id, safe='')}/builds/{quote(build_id, safe='')}/status"
        return models.TemplateBuild.from_dict((self.request("GET", path)).json())

    def get_teams(self) -> list[models.Team]:
        return [models.Team.from_dict(team) for team in (self.request("GET", "/teams")).json()]

    def _sandbox(self, method: str, sandbox_id: str, suffix: str, **options: Any) -> Any:
        path = f"/sandboxes/{quote(sandbox_id, safe='')}{suffix}"
        return self.request(method, path, about_sandbox=True, **options)


def _metadata(metadata: Mapping[str, str] | None) -> str | None:
    """Encoded here and once more as a parameter: that is the API's way."""
    return urlencode(metadata) if metadata else None
