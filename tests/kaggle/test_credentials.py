"""Credentials: which the client will use, what hides what, what is wrong with them; none of them shown."""

from __future__ import annotations

import json

import pytest
from support.folders import write

from kit.core.errors import InputError
from kit.kaggle.client.credentials import child_environment, choose_credentials, find_credentials, redact

KEY = "0123456789abcdef0123456789abcdef"
GOOD = json.dumps({"username": "ada", "key": KEY})


def sources_of(home, **environment: str):
    return find_credentials({"HOME": str(home), **environment})


def refusal(home, **environment: str) -> str:
    with pytest.raises(InputError) as refused:
        choose_credentials(sources_of(home, **environment))
    return str(refused.value)


def test_the_order_is_the_clients(tmp_path):
    write(tmp_path / ".kaggle/kaggle.json", GOOD)
    write(tmp_path / ".kaggle/access_token", "KGAT_file")
    write(tmp_path / ".kaggle/credentials.json", json.dumps({"refresh_token": "r"}))
    env = {"KAGGLE_API_TOKEN": "KGAT_env", "KAGGLE_USERNAME": "ada", "KAGGLE_KEY": KEY}
    where = [source.where.removeprefix(str(tmp_path)) for source in sources_of(tmp_path, **env)]
    assert where == [
        "the environment variable KAGGLE_API_TOKEN",
        "/.kaggle/access_token",
        "the environment variables KAGGLE_USERNAME and KAGGLE_KEY",
        "/.kaggle/kaggle.json",
        "/.kaggle/credentials.json",
    ]


def test_the_configuration_folder_is_the_clients(tmp_path):
    write(tmp_path / ".config/kaggle/kaggle.json", GOOD)
    write(tmp_path / "elsewhere/kaggle.json", GOOD)
    assert sources_of(tmp_path)[0].where == str(tmp_path / ".config/kaggle/kaggle.json")
    assert sources_of(tmp_path, KAGGLE_CONFIG_DIR=str(tmp_path / "elsewhere"))[0].where.endswith(
        "elsewhere/kaggle.json"
    )


def test_a_token_may_be_the_name_of_a_file(tmp_path):
    write(tmp_path / "token", "KGAT_x\n")
    source = sources_of(tmp_path, KAGGLE_API_TOKEN=str(tmp_path / "token"))[0]
    assert source.secrets == ("KGAT_x",) and "(file " in source.where


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), "UTF-8 byte order mark"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (b'{"username": "ada",', "is not JSON (line 1)"),
        (b"", "is not JSON"),
        (b'{"username": "ada"}', 'has no "username" and "key"'),
        (b"[]", 'has no "username" and "key"'),
    ],
)
def test_a_kaggle_json_that_the_client_passes_over_in_silence_is_named(tmp_path, data, message):
    path = tmp_path / ".kaggle/kaggle.json"
    path.parent.mkdir()
    path.write_bytes(data)
    assert message in refusal(tmp_path) and str(path) in refusal(tmp_path) and KEY not in refusal(tmp_path)


def test_half_a_login_names_the_other_half(tmp_path):
    assert "is of no use without KAGGLE_KEY" in refusal(tmp_path, KAGGLE_USERNAME="ada")


def test_a_key_of_the_environment_over_a_file_is_said(tmp_path):
    write(tmp_path / ".kaggle/kaggle.json", GOOD)
    assert "with KAGGLE_KEY of the environment" in sources_of(tmp_path, KAGGLE_KEY="other")[0].where


def test_no_credentials_say_how_to_get_them(tmp_path):
    assert "make a token at https://www.kaggle.com/settings/api" in refusal(tmp_path)


def test_a_token_with_a_line_break_inside_is_named(tmp_path):
    assert "copy it again, as one line" in refusal(tmp_path, KAGGLE_API_TOKEN="KGAT_a b")


def test_a_source_does_not_show_its_secret(tmp_path):
    assert KEY not in repr(sources_of(tmp_path, KAGGLE_USERNAME="ada", KAGGLE_KEY=KEY))


def test_messages_lose_keys_signatures_and_authorisations(tmp_path):
    sources = sources_of(tmp_path, KAGGLE_USERNAME="ada", KAGGLE_KEY=KEY)
    text = (
        f"PUT https://storage.googleapis.com/x/y.zip?X-Goog-Signature=abc&k={KEY} Bearer abcdefghijk http://u:p@proxy:1"
    )
    message = redact(text, sources)
    assert not any(secret in message for secret in (KEY, "Signature", "abcdefghijk", "u:p"))
    assert "https://storage.googleapis.com/x/y.zip" in message
    assert "Signature" not in redact("HTTPConnectionPool: url: /upload/b?X-Goog-Signature=1 (Caused by ...)", sources)


def test_the_client_gets_home_proxies_and_certificates_and_nothing_that_makes_it_talk():
    given = {"HOME": "h", "https_proxy": "p", "REQUESTS_CA_BUNDLE": "c", "KAGGLE_KEY": "k"}
    assert child_environment(given | {"VERBOSE": "1", "SECRET": "s", "KAGGLE_API_TOKEN": ""}) == given
