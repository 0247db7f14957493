"""`[alarms]`: which rhythms of continuous recordings are told, from when on and until when.

The defaults, with their sources, are `model.alarms.DEFAULT_RULES`.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from integration.sections import Section
from model.alarms import DEFAULT_RULES, LOST_S, Rule
from model.findings import RHYTHM_NAMES
from model.stitch import WINDOW_S


class AlarmSettings(Section):
    """One rhythm; what is left out is as by default."""

    enabled: bool = Field(default=True, description="whether it is told at all")
    min_s: float | None = Field(
        None, ge=0, description="seconds that it has to be seen for, in all; 0: at once"
    )
    quiet_s: float | None = Field(
        None,
        ge=WINDOW_S,
        le=LOST_S,
        description="seconds of readable signal without it after which it is over",
    )
    level: float | None = Field(
        None,
        description="its value has to reach this: beats a minute, seconds of a pause, beats of a "
        "run, probability of AF; a bradycardia has to be at most so fast",
    )


class AlarmsSettings(Section):
    """Rules by rhythm."""

    rhythms: dict[str, AlarmSettings] = Field(
        {}, description="by code; the others are as by default"
    )

    @model_validator(mode="after")
    def _rhythms_are_known(self) -> Self:
        if unknown := self.rhythms.keys() - RHYTHM_NAMES.keys():
            raise ValueError(f"rhythms: {unknown.pop()!r} is none of {', '.join(RHYTHM_NAMES)}")
        return self

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Return code -> rule of every rhythm that is told."""
        rules = dict(DEFAULT_RULES)
        for code, own in self.rhythms.items():
            usual = rules.pop(code, Rule())
            if own.enabled:
                rules[code] = Rule(
                    usual.min_s if own.min_s is None else own.min_s,
                    usual.quiet_s if own.quiet_s is None else own.quiet_s,
                    usual.level if own.level is None else own.level,
                )
        return rules
