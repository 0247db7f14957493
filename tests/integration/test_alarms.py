import pytest
from pydantic import ValidationError

from integration.alarms import AlarmsSettings
from model.alarms import DEFAULT_RULES, Rule


def test_without_a_word_the_defaults_hold():
    assert AlarmsSettings().rules == DEFAULT_RULES


def test_a_site_changes_what_it_names():
    rules = AlarmsSettings(
        rhythms={
            "AF": {"min_s": 120},
            "tachycardia": {"enabled": False},
            "supraventricular-run": {"level": 10},
        }
    ).rules
    assert rules["AF"] == Rule(min_s=120, quiet_s=60)
    assert "tachycardia" not in rules
    assert rules["supraventricular-run"] == Rule(level=10)
    assert rules["pause"] == DEFAULT_RULES["pause"]


def test_unknown_rhythms_are_named():
    with pytest.raises(ValidationError, match="rhythms: 'flutter' is none of ventricular-run"):
        AlarmsSettings(rhythms={"flutter": {}})
