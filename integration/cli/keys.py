"""`hisbundle keys`: our own keys, for FHIR servers that ask who we are (SMART Backend Services)."""

import json
from datetime import UTC, datetime

import click

from integration.cli.access import needs
from integration.config import load_settings
from integration.security.roles import Role
from integration.security.signing_keys import Algorithm, jwks, make_key, read_keys


@click.group()
def keys() -> None:
    """Make and show the keys that say who we are to FHIR servers (SMART Backend Services).

    The newest signs; all are published at /.well-known/jwks.json. To rotate: make a new one, and
    remove the old file once every server has looked at the JWKS again.
    """


@keys.command()
@click.option(
    "--algorithm",
    type=click.Choice(["ES384", "RS384"]),
    default="ES384",
    show_default=True,
    help="that the other servers take",
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.ADMIN)
def new(*, algorithm: Algorithm, as_json: bool) -> None:
    """Make a key that signs from now on, and print its name."""
    kid = make_key(load_settings().keys_folder, algorithm, datetime.now(UTC)).kid
    click.echo(json.dumps({"kid": kid}) if as_json else kid)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="print the JWKS, to be registered elsewhere")
@needs(Role.VIEWER)
def list_(*, as_json: bool) -> None:
    """List the keys, the newest first."""
    folder = load_settings().keys_folder
    if as_json:
        click.echo(json.dumps(jwks(folder)))
        return
    for number, key in enumerate(read_keys(folder)):
        click.echo(f"{key.kid}  {'published' if number else 'signs'}")
