import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from integration.cli import _COMMANDS, cli, command

ROOT = Path(__file__).parents[3]


def hisbundle(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-P", "-m", "integration", *arguments],
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command_without_loading_torch():
    program = (
        "import sys; from click.testing import CliRunner; from integration.cli import cli; "
        "print(CliRunner().invoke(cli, ['--help']).output); "
        "assert not {'torch', 'sqlalchemy', 'celery'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    for name, words in _COMMANDS.items():
        assert re.search(rf"\b{name}\b +{words.split()[0]}", done.stdout)


@pytest.mark.parametrize("name", sorted(_COMMANDS))
def test_every_command_has_help_and_stands_in_the_readme(name):
    found = command(name)
    assert isinstance(found, click.Command)
    assert found.help
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    assert f"`hisbundle {name}" in (ROOT / "README.md").read_text()
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


DOCUMENTS = ["deploy/RUNBOOK.md", "SECURITY.md", "deploy/hisbundle.example.toml"]
SPAN = re.compile(r"`(?:[^`\n]*; )?(hisbundle [a-z][^`\n>]*)")
SPANS = {span for name in DOCUMENTS for span in SPAN.findall((ROOT / name).read_text())}


@pytest.mark.parametrize("span", sorted(SPANS))
def test_commands_that_the_documents_give_can_be_given(span):
    _, *words = shlex.split(re.sub(r"\$\(.*?\)", "now", span))
    context, found = click.Context(cli), cli
    while words and isinstance(found, click.Group):
        found = found.get_command(context, words.pop(0))
        assert found is not None
    if not words:  # only named
        return
    try:
        found.make_context(span, words)
    except (click.NoSuchOption, click.MissingParameter) as error:
        pytest.fail(str(error))
    except click.BadParameter:  # of a file that is not here
        return


def test_a_wrong_setting_is_one_line_and_exit_code_2():
    done = hisbundle("status", HISBUNDLE_MLLP__PORT="many")
    assert done.returncode == 2
    assert done.stderr.startswith("hisbundle: settings-invalid: mllp.port: ")
    assert done.stderr.count("\n") == 1


def test_a_database_that_was_never_made_says_what_to_do(tmp_path):
    done = hisbundle("status", HISBUNDLE_DATA_DIR=str(tmp_path / "elsewhere"))
    assert done.returncode == 2
    assert done.stderr == "hisbundle: schema-behind: run `hisbundle migrate`\n"


def test_an_unreachable_database_is_one_line_and_tells_no_password():
    url = "postgresql://user:geheim@127.0.0.1:1/none"
    done = hisbundle("status", HISBUNDLE_DATABASE_URL=url)
    assert done.returncode == 2
    assert "store-unavailable" in done.stderr
    assert "hisbundle check" in done.stderr
    assert "geheim" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_told():
    done = hisbundle("sorce")
    assert done.returncode == 2
    assert "sorce" in done.stderr
