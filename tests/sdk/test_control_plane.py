"""Sandboxes of a control plane, which here is a small fake; their daemon is the real one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from envd_sdk import (
    ApiClient,
    ApiException,
    AsyncApiClient,
    AuthenticationException,
    ConnectionConfig,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
    SandboxUnreachableException,
    TemplateException,
    TimeoutException,
    client,
)
from tests.support.concurrency import Concurrency
from tests.support.control_plane import API_KEY, Fake, control_plane
from tests.support.daemon import Daemon, running_daemon


@pytest.fixture
def plane() -> Iterator[Fake]:
    with control_plane() as fake:
        yield fake


@pytest.fixture
def config(plane: Fake, daemon: Daemon) -> ConnectionConfig:
    return ConnectionConfig(
        api_key=API_KEY, api_url=plane.url, sandbox_url=f"http://{daemon.address}", debug=False, request_timeout=10
    )


async def create(concurrency: Concurrency, config: ConnectionConfig, *args: Any, **named: Any) -> Any:
    return await concurrency.call(concurrency.sandbox.create, *args, connection_config=config, **named)


async def test_a_sandbox_is_made_used_and_killed(concurrency, config, plane):
    sandbox = await create(
        concurrency, config, "python", timeout=77, metadata={"who": "me"}, envs={"A": "b"}, auto_pause=True
    )
    assert (await concurrency.call(sandbox.commands.run, "echo in it")).stdout == "in it\n"
    assert plane.requests[0] == (
        "POST",
        "/sandboxes",
        {},
        {
            "templateID": "python",
            "timeout": 77,
            "metadata": {"who": "me"},
            "envVars": {"A": "b"},
            "secure": True,
            "autoPause": True,
            "allow_internet_access": True,
        },
    )
    assert sandbox.sandbox_id == "sbx0"
    assert await concurrency.call(sandbox.is_running) is True
    assert await concurrency.call(sandbox.kill) is True
    assert await concurrency.call(sandbox.kill) is False
    await concurrency.call(sandbox.close)


async def test_what_is_not_said_has_its_default(concurrency, config, plane):
    sandbox = await create(concurrency, config)
    assert (plane.requests[0][3]["templateID"], plane.requests[0][3]["timeout"]) == ("base", 300)
    await concurrency.call(sandbox.close)


async def test_its_life_is_decided_by_object_and_by_id(concurrency, config, plane):
    sandbox = await create(concurrency, config, metadata={"k": "v"})
    await concurrency.call(sandbox.set_timeout, 12)
    assert plane.sandboxes["sbx0"]["timeout"] == 12
    info = await concurrency.call(sandbox.get_info)
    assert (info.sandbox_id, info.template_id, info.name, info.metadata) == ("sbx0", "base", "the-alias", {"k": "v"})
    assert info.started_at == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert (info.state, info.cpu_count, info.memory_mb) == (SandboxState.RUNNING, 2, 512)
    (metric,) = await concurrency.call(sandbox.get_metrics)
    assert (metric.cpu_used_pct, metric.mem_used, metric.disk_total) == (12.5, 1 << 20, 10)

    by_id = concurrency.sandbox
    await concurrency.call(by_id.set_timeout, "sbx0", 34, connection_config=config)
    assert plane.sandboxes["sbx0"]["timeout"] == 34
    assert (await concurrency.call(by_id.get_info, "sbx0", connection_config=config)).sandbox_id == "sbx0"
    assert await concurrency.call(by_id.kill, "sbx0", connection_config=config) is True
    assert await concurrency.call(by_id.kill, "sbx0", connection_config=config) is False
    await concurrency.call(sandbox.close)


async def test_a_sandbox_is_connected_to_and_wakes(concurrency, config, plane):
    sandbox = await create(concurrency, config)
    assert await concurrency.call(sandbox.pause) is True
    assert await concurrency.call(sandbox.pause) is False
    assert (await concurrency.call(sandbox.get_info)).state is SandboxState.PAUSED
    again = await concurrency.call(concurrency.sandbox.connect, "sbx0", connection_config=config)
    assert plane.sandboxes["sbx0"]["state"] == "running"
    assert (await concurrency.call(again.commands.run, "echo again")).stdout == "again\n"
    assert await concurrency.call(sandbox.connect, timeout=5) is sandbox
    assert plane.sandboxes["sbx0"]["timeout"] == 5
    assert (await concurrency.call(sandbox.commands.run, "echo both")).stdout == "both\n"
    for one in (again, sandbox):
        await concurrency.call(one.close)
    with pytest.raises(SandboxNotFoundException, match="nothing not found"):
        await concurrency.call(concurrency.sandbox.connect, "nothing", connection_config=config)


async def test_the_end_of_a_with_statement_kills(concurrency, config, plane):
    if concurrency.name == "sync":
        with concurrency.sandbox(connection_config=config) as sandbox:
            assert list(plane.sandboxes) == [sandbox.sandbox_id]
    else:
        async with concurrency.sandbox(connection_config=config) as sandbox:
            assert list(plane.sandboxes) == [sandbox.sandbox_id]
            assert (await sandbox.commands.run("echo made")).stdout == "made\n"
        async with await concurrency.sandbox.create(connection_config=config):
            assert plane.sandboxes
    assert not plane.sandboxes


async def test_a_secured_sandbox_is_called_with_its_token(concurrency, plane):
    async with running_daemon() as daemon:
        plane.token = "the-secret"
        config = ConnectionConfig(api_key=API_KEY, api_url=plane.url, sandbox_url=f"http://{daemon.address}")
        init_with(daemon, plane.token)
        sandbox = await create(concurrency, config)
        assert (await concurrency.call(sandbox.commands.run, "echo let in")).stdout == "let in\n"
        assert "the-secret" not in repr(vars(sandbox))
        await concurrency.call(sandbox.close)
        stranger = await concurrency.call(concurrency.sandbox.connect_local, daemon.address)
        with pytest.raises(AuthenticationException):
            await concurrency.call(stranger.commands.list)
        await concurrency.call(stranger.close)
        friend = await concurrency.call(concurrency.sandbox.connect_local, daemon.address, "the-secret")
        assert await concurrency.call(friend.commands.list) == []
        await concurrency.call(friend.close)


async def test_links_to_files_are_signed(concurrency, plane, tmp_path):
    async with running_daemon() as daemon:
        init_with(daemon, "the-secret")
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, daemon.address, "the-secret")
        path = str(tmp_path / "a b")
        async with httpx.AsyncClient() as browser:
            up = await browser.post(sandbox.upload_url(path), files={"file": b"by link"})
            assert up.status_code == 200
            down = await browser.get(sandbox.download_url(path, use_signature_expiration=60))
            assert down.content == b"by link"
            assert (await browser.get(sandbox.download_url(path, use_signature_expiration=-1))).status_code == 401
            assert (await browser.get(sandbox.download_url("/etc/hosts").replace("hosts", "passwd"))).status_code == 401
        await concurrency.call(sandbox.close)


def init_with(daemon: Daemon, token: str) -> None:
    assert httpx.post(f"http://{daemon.address}/init", json={"accessToken": token}).status_code == 204


async def test_sandboxes_are_listed_page_by_page(concurrency, config, plane):
    for number in range(5):
        await concurrency.call((await create(concurrency, config, metadata={"odd": str(number % 2)})).close)
    plane.sandboxes["sbx4"]["state"] = "paused"
    pages = concurrency.sandbox.list(limit=2, connection_config=config)
    seen = []
    while pages.has_next:
        page = await concurrency.call(pages.next_items)
        assert len(page) <= 2
        seen += [one.sandbox_id for one in page]
    assert seen == [f"sbx{number}" for number in range(5)]
    with pytest.raises(SandboxException, match="no more"):
        await concurrency.call(pages.next_items)
    query = SandboxQuery(metadata={"odd": "0"}, state=[SandboxState.PAUSED])
    found = await concurrency.all(concurrency.sandbox.list(query, connection_config=config))
    assert [one.sandbox_id for one in found] == ["sbx4"]


async def test_a_template_that_is_too_old_is_refused(concurrency, config, plane):
    plane.envd_version = "0.0.9"
    with pytest.raises(TemplateException, match=r"0\.0\.9"):
        await create(concurrency, config)
    assert not plane.sandboxes


async def test_without_a_key_nothing_is_asked(concurrency, plane, monkeypatch):
    monkeypatch.delenv("E2B_API_KEY", raising=False)
    with pytest.raises(AuthenticationException, match="E2B_API_KEY"):
        await create(concurrency, ConnectionConfig(api_url=plane.url))
    with pytest.raises(AuthenticationException, match="Invalid API key"):
        await create(concurrency, ConnectionConfig(api_url=plane.url, api_key="wrong"))
    assert len(plane.requests) == 1


REFUSALS = [
    (429, RateLimitException),
    (500, ApiException),
    (403, SandboxException),
    (400, SandboxException),
]


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
async def test_a_refusal_is_an_exception_with_its_text(concurrency, config, plane, status, kind):
    plane.refusals = [(status, {"code": status, "message": "because"}, {"Should-Retry": "false"})]
    with pytest.raises(kind, match="because"):
        await create(concurrency, config)
    assert len(plane.requests) == 1


async def test_a_busy_control_plane_is_asked_again(concurrency, config, plane):
    plane.refusals = [(429, None, {"Retry-After": "0"}), (503, None, {"Retry-After": "0"})]
    sandbox = await create(concurrency, config)
    assert len(plane.requests) == 3
    await concurrency.call(sandbox.close)


async def test_what_may_have_been_done_is_not_asked_again(concurrency, config, plane):
    plane.refusals = [(502, None, {"Retry-After": "0"})]
    with pytest.raises(ApiException):
        await create(concurrency, config)
    plane.refusals = [(502, None, {"Retry-After": "0"})]
    assert (await concurrency.call(concurrency.sandbox.kill, "nothing", connection_config=config)) is False


async def test_a_control_plane_that_is_not_there(concurrency):
    config = ConnectionConfig(api_key=API_KEY, api_url="http://127.0.0.1:9")
    with pytest.raises(SandboxUnreachableException, match=r"127\.0\.0\.1:9"):
        await create(concurrency, config)
    assert issubclass(SandboxUnreachableException, TimeoutException)


async def test_in_debug_mode_there_is_no_control_plane(concurrency, daemon, plane):
    config = ConnectionConfig(debug=True, sandbox_url=f"http://{daemon.address}", api_url=plane.url)
    sandbox = await create(concurrency, config)
    assert sandbox.sandbox_id == "debug_sandbox_id"
    assert (await concurrency.call(sandbox.commands.run, "echo debug")).stdout == "debug\n"
    assert await concurrency.call(sandbox.kill) is True
    await concurrency.call(sandbox.set_timeout, 5)
    assert await concurrency.call(sandbox.get_metrics) == []
    await concurrency.call(sandbox.close)
    assert not plane.requests


def endpoints(api: Any) -> dict[str, tuple[Any, ...]]:
    """Every method of the client, and arguments for it."""
    return {
        "get_health": (api.get_health,),
        "get_sandboxes": (api.get_sandboxes, {"k": "v"}),
        "get_v2_sandboxes": (api.get_v2_sandboxes,),
        "post_sandboxes": (api.post_sandboxes, client.models.NewSandbox("base")),
        "get_sandboxes_sandbox_id": (api.get_sandboxes_sandbox_id, "sbx0"),
        "post_sandboxes_sandbox_id_timeout": (api.post_sandboxes_sandbox_id_timeout, "sbx0", 5),
        "post_sandboxes_sandbox_id_refreshes": (api.post_sandboxes_sandbox_id_refreshes, "sbx0", 5),
        "post_sandboxes_sandbox_id_connect": (api.post_sandboxes_sandbox_id_connect, "sbx0", 5),
        "post_sandboxes_sandbox_id_pause": (api.post_sandboxes_sandbox_id_pause, "sbx0"),
        "post_sandboxes_sandbox_id_resume": (
            api.post_sandboxes_sandbox_id_resume,
            "sbx0",
            client.models.ResumedSandbox(5),
        ),
        "get_sandboxes_sandbox_id_logs": (api.get_sandboxes_sandbox_id_logs, "sbx0"),
        "get_sandboxes_sandbox_id_metrics": (api.get_sandboxes_sandbox_id_metrics, "sbx0"),
        "get_sandboxes_metrics": (api.get_sandboxes_metrics,),
        "get_templates": (api.get_templates,),
        "post_templates": (api.post_templates, client.models.TemplateBuildRequest("FROM x")),
        "patch_templates_template_id": (
            api.patch_templates_template_id,
            "base",
            client.models.TemplateUpdateRequest(public=True),
        ),
        "delete_templates_template_id": (api.delete_templates_template_id, "base"),
        "get_templates_template_id_builds_build_id": (api.get_templates_template_id_builds_build_id, "base", "b1"),
        "get_teams": (api.get_teams,),
        "delete_sandboxes_sandbox_id": (api.delete_sandboxes_sandbox_id, "sbx0"),
    }


async def test_every_endpoint_is_a_method(concurrency, config, plane):
    api = (ApiClient if concurrency.name == "sync" else AsyncApiClient)(config)
    plane.sandboxes.clear()
    assert (await concurrency.call(api.post_sandboxes, client.models.NewSandbox("base"))).sandbox_id == "sbx0"
    plane.sandboxes["sbx0"]["metadata"] = {"k": "v"}
    found = {}
    for name, (method, *arguments) in endpoints(api).items():
        if name != "get_templates_template_id_builds_build_id":
            found[name] = await concurrency.call(method, *arguments)
    assert [one.sandbox_id for one in found["get_sandboxes"]] == ["sbx0"]
    assert found["get_sandboxes_sandbox_id_logs"].logs[0].line == "hello"
    assert found["get_templates"][0].template_id == "base"
    assert found["get_teams"][0].is_default is True
    # Encoded twice, as the API has it; the fake has undone the first time.
    assert plane.requests[2][2] == {"metadata": "k=v"}
    assert plane.headers[0]["x-api-key"] == API_KEY
    assert plane.headers[0]["user-agent"].startswith("envd-python-sdk/")
    listed = {name for name in dir(api) if name.startswith(("get_", "post_", "delete_", "patch_"))}
    assert listed - {"get_httpx_client"} == set(endpoints(api))
    await concurrency.call(api.close)


async def test_a_token_is_shown_if_there_is_one(concurrency, plane):
    config = ConnectionConfig(access_token="a-token", api_url=plane.url)
    kind = ApiClient if concurrency.name == "sync" else AsyncApiClient
    with pytest.raises(AuthenticationException, match="E2B_ACCESS_TOKEN"):
        kind(ConnectionConfig(api_key=API_KEY), require_access_token=True)
    api = kind(config, require_api_key=False, require_access_token=True)
    assert len(await concurrency.call(api.get_teams)) == 1
    await concurrency.call(api.close)
