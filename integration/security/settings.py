"""The sections `[encryption]` and `[roles]`: keys of what is stored, and who may do what."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from integration.sections import Section


class EncryptionSettings(Section):
    """Keys that messages and identifiers are sealed with in the database; without one: plain."""

    key_file: Path | None = Field(
        None,
        description="file of keys as `hisbundle encryption key` prints them, its owner's alone",
    )
    keys: SecretStr | None = Field(
        None, description="the same lines, parted by `;`: for the environment"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.key_file is not None and self.keys is not None:
            raise ValueError("give key_file or keys, not both")
        return self


class RolesSettings(Section):
    """Which local accounts may run which commands; nobody named: everybody may run all."""

    viewers: tuple[str, ...] = Field((), description="accounts, or @groups, that may look")
    operators: tuple[str, ...] = Field((), description="that may replay, import, see ECGs, too")
    admins: tuple[str, ...] = Field((), description="that may do everything; root always may")
