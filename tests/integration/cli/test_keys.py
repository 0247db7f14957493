import json

from click.testing import CliRunner

from integration.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["keys", *arguments], catch_exceptions=False)


def test_keys_are_made_listed_and_published(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("list").output == ""
    first = run("new", "--algorithm", "RS384").output.strip()
    second = run("new").output.strip()
    listed = run("list").output.splitlines()
    newest, oldest = sorted((first, second), reverse=True)
    assert listed == [f"{newest}  signs", f"{oldest}  published"]
    published = json.loads(run("list", "--json").output)["keys"]
    assert [key["kty"] for key in published if key["kid"] == first] == ["RSA"]
    assert [key["kty"] for key in published if key["kid"] == second] == ["EC"]
