"""The session: the official client in a child, with time-outs; reads are retried, writes never; it fails closed."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time

import pytest
from support.kaggle_server import DEAD_PORT, SIGNATURE, Fault
from support.kaggle_site import WarmKaggle, below, hurry

from kit.core.errors import InputError
from kit.kaggle.client.failures import Failure, KaggleFailure, KaggleRefusal, explain_failure
from kit.kaggle.client.session import Kaggle

NOBODYS = "192.0.2.1"  # an address for documentation, RFC 5737
CALLS = ("create_connection(('{}', 443), 1)", "getaddrinfo('{}', 443)")


@pytest.fixture
def server(kaggle, monkeypatch):
    hurry(monkeypatch, call_seconds=8)
    return kaggle


@pytest.fixture
def connect(server, kaggle_home, tmp_path):
    """Return a function that opens a session with changes to its environment; None takes a variable away."""
    opened = []

    def make(**changes: str | None) -> Kaggle:
        environment = server.environment(tmp_path / "home" if changes else kaggle_home) | changes
        given = {name: value for name, value in environment.items() if value is not None}
        opened.append((Kaggle if changes else WarmKaggle)(server.slug, given))
        return opened[-1]

    yield make
    for kaggle in opened:
        kaggle.__exit__(None, None, None)


def limits(kaggle: Kaggle):
    return kaggle.read("limits", slug=kaggle.slug)


def is_served(port: int) -> bool:
    with socket.socket() as opened:
        return opened.connect_ex(("localhost", port)) == 0


def test_a_client_that_looks_for_the_real_site_finds_nothing(server, connect):
    with pytest.raises(
        KaggleFailure, match=rf"the proxy 127\.0\.0\.1:{DEAD_PORT} .*https_proxy.* does not let it through"
    ):
        limits(connect(KAGGLE_API_ENVIRONMENT=None))
    assert not server.calls


@pytest.mark.skipif(is_served(80), reason="a web server of this machine answers")
def test_without_a_proxy_the_environment_alone_keeps_it_on_this_machine(server, connect):
    with pytest.raises(KaggleFailure, match="Kaggle cannot be reached; check the network"):
        limits(connect(http_proxy=None, https_proxy=None, all_proxy=None))
    assert not server.calls


def test_the_tests_own_process_never_points_at_the_real_site():
    assert os.environ["KAGGLE_API_ENVIRONMENT"] == "LOCALHOST"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("host", [NOBODYS, "api.kaggle.com"])
def test_no_test_reaches_another_machine_from_its_own_process(call, host):
    with pytest.raises(OSError, match=f"tests stay on this machine: {host} was not asked"):
        eval(f"socket.{call.format(host)}")


def test_no_client_of_a_test_reaches_another_machine_whatever_its_environment(server, tmp_path):
    given = {"HOME": str(tmp_path), "KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "k"}  # as a user has it: the real site
    kaggle = Kaggle(server.slug, given)
    with pytest.raises(KaggleFailure, match="Kaggle cannot be reached"), kaggle:
        limits(kaggle)
    code = f"import socket; socket.create_connection(('{NOBODYS}', 443), 1)"
    done = subprocess.run([sys.executable, "-P", "-c", code], env=kaggle.environment, capture_output=True, text=True)
    assert f"tests stay on this machine: {NOBODYS} was not asked" in done.stderr


def test_the_stand_in_notes_whoever_asks_for_another_host(server, connect):
    proxy = f"http://127.0.0.1:{server.http.server_port}"
    with pytest.raises(KaggleFailure, match="Tunnel connection failed: 403"):
        limits(connect(KAGGLE_API_ENVIRONMENT=None, https_proxy=proxy))
    assert {host.partition(":")[0] for host in server.foreign_hosts} == {"api.kaggle.com"}
    server.foreign_hosts.clear()


def test_a_proxys_password_is_not_shown(connect):
    with pytest.raises(KaggleFailure) as refused:
        limits(connect(http_proxy=f"http://me:hidden@127.0.0.1:{DEAD_PORT}", https_proxy=None, all_proxy=None))
    assert "hidden" not in str(refused.value) and f"127.0.0.1:{DEAD_PORT}" in str(refused.value)


def test_one_child_serves_many_calls(server, connect):
    kaggle = connect()
    for _ in range(3):
        limits(kaggle)
    assert server.calls == ["GetSubmissionLimits"] * 3


def test_a_read_is_tried_again_and_a_write_is_not(server, connect):
    kaggle = connect()
    server.fail("GetSubmissionLimits", 429, 500, "cut")
    assert limits(kaggle)["today"] == 0
    server.fail("CreateCodeSubmission", 503, 503)
    with pytest.raises(KaggleFailure):
        kaggle.write("submit_code", slug=kaggle.slug, kernel="a/b", version=1, file="f", message="m")
    assert server.calls.count("CreateCodeSubmission") == 1


def test_a_server_that_asks_for_a_long_wait_is_obeyed_by_ending(server, connect):
    server.fail("GetSubmissionLimits", Fault(429, headers={"Retry-After": "3600"}))
    with pytest.raises(KaggleFailure, match="wait for 3600 seconds"):
        limits(connect())
    assert len(server.calls) == 1


def test_a_hang_ends_with_the_time_out_and_the_next_call_works(server, connect, monkeypatch):
    kaggle = connect()
    limits(kaggle)
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", 0.5)
    server.fail("GetSubmissionLimits", "hang")
    began = time.monotonic()
    with pytest.raises(KaggleFailure, match="no answer within"):
        limits(kaggle)
    assert time.monotonic() - began < 5
    monkeypatch.setattr("kit.kaggle.client.session.CALL_SECONDS", 8.0)
    assert limits(kaggle)["today"] == 0


def test_a_child_that_is_killed_is_told_and_replaced(connect):
    kaggle = connect()
    limits(kaggle)
    kaggle._child.process.kill()
    with pytest.raises(KaggleFailure, match="the client ended without an answer"):
        limits(kaggle)
    assert limits(kaggle)["today"] == 0


def test_a_nested_error_is_read(server, connect):
    server.fail("GetSubmissionLimits", Fault(404, said="nested", is_nested=True))
    with pytest.raises(KaggleRefusal, match="nested"):
        limits(connect())


def test_warnings_on_stdout_do_not_reach_what_is_read(server, connect, tmp_path):
    home = tmp_path / "home" / ".kaggle"
    home.mkdir(parents=True)
    (home / "kaggle.json").write_text('{"username": "ada", "key": "f00dkey000000000000000000000cafe"}')
    (home / "kaggle.json").chmod(0o644)
    assert limits(connect(KAGGLE_USERNAME=None, KAGGLE_KEY=None))["today"] == 0


def test_a_good_token_signs_in(server, connect):
    server.tokens["KGAT_good"] = "ada"
    kaggle = connect(KAGGLE_API_TOKEN="KGAT_good", KAGGLE_USERNAME=None, KAGGLE_KEY=None)
    assert limits(kaggle)["today"] == 0 and kaggle.username == "ada"


def test_an_expired_token_that_hides_a_good_key_is_named_before_any_call(server, connect):
    with pytest.raises(
        InputError, match=r"rejected the token of .*KAGGLE_API_TOKEN.*it hides .*KAGGLE_USERNAME.*unset it"
    ):
        limits(connect(KAGGLE_API_TOKEN="KGAT_old"))
    assert set(server.calls) == {"IntrospectToken"}


def test_an_empty_token_does_not_hide_a_good_key(connect):
    assert limits(connect(KAGGLE_API_TOKEN=""))["today"] == 0


def test_submissions_are_listed_over_all_pages(server, connect):
    for i in range(230):
        server.receive(f"{i}.csv", b"id,label\n", "m")
    listed = connect().read("list_submissions", slug=server.slug)
    assert len({row["ref"] for row in listed}) == 230


def test_the_team_is_found_on_a_later_page(server, connect):
    server.teams = [(f"team {i}", f"{1 - i / 1000:.3f}") for i in range(250)]
    reply = connect().read("find_team", slug=server.slug, teams=["", "TEAM 240"])
    assert reply["place"] == 241 and reply["best"] == "1.000"
    assert connect().read("find_team", slug=server.slug, teams=["nobody"])["place"] is None


@pytest.mark.parametrize(
    "kind", ["http", "proxy", "not_json", "cut", "unreached", "ssl", "timeout", "upload", "died", "disk"]
)
@pytest.mark.parametrize("call", ["connect", "limits", "download", "submit"])
def test_every_failure_says_what_was_being_done_and_a_remedy(kind, call):
    message = str(
        explain_failure(Failure(call, kind, 500 if kind == "http" else 0, message="x", file="f"), "slug", [], {})
    )
    assert message.startswith("Kaggle, ") and len(message) > 60 and "None" not in message.replace("proxy None", "")


def test_a_client_made_to_talk_and_a_log_of_everything_show_no_key_and_no_signed_address(
    kaggle, kaggle_home, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    (file := tmp_path / "001_x.csv").write_text("id,label\n3,cat\n")
    session = WarmKaggle(kaggle.slug, kaggle.environment(tmp_path / "home"))
    session.environment |= {"VERBOSE": "1", "TMPDIR": str(tmp_path)}  # what it is never given otherwise
    with session:
        session.write("submit", slug=kaggle.slug, file=str(file), message="m")
        kaggle.fail("CreateSubmission", Fault(500, said="see http://localhost/upload/b?" + SIGNATURE))
        with pytest.raises(KaggleFailure) as refused:
            session.write("submit", slug=kaggle.slug, file=str(file), message="m")
        session._child.process.kill()
        with pytest.raises(KaggleFailure) as died:
            session.read("limits", slug=kaggle.slug)
        session._end()
    message = f"{refused.value} {died.value} {caplog.text}"
    stored = b"".join(below(tmp_path).values())
    for secret in (next(iter(kaggle.keys.values())), SIGNATURE, SIGNATURE.partition("=")[2]):
        assert secret not in message and secret.encode() not in stored
    assert "the client ended without an answer" in message
