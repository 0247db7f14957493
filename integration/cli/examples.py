"""An example of every command: shown at the end of its help, run by the tests.

$ECG, $LETTER, $REPLAY, $HOLD and $HEAD stand for an id as the commands print them.
"""

import click

EXAMPLES = {
    "audit export": "hisbundle audit export --since 2026-01-01 > audit.ndjson",
    "audit head": "hisbundle audit head",
    "audit verify": "hisbundle audit verify --head $HEAD --json",
    "backup": "hisbundle backup hisbundle.backup --json",
    "bench fhir": "hisbundle bench fhir --bodies 40 --connections 4 --json",
    "bench kafka": "hisbundle bench kafka --events 40 --json",
    "bench mllp": "hisbundle bench mllp --messages 40 --connections 1,3 --json",
    "bench model": "hisbundle bench model --batch 1,8 --threads 1 --json",
    "bench soak": "hisbundle bench soak 20 --resume soak.json",
    "check": "hisbundle check --json",
    "dead-letters discard": "hisbundle dead-letters discard $LETTER --why 'a test message'",
    "dead-letters list": "hisbundle dead-letters list --json",
    "dead-letters retry": "hisbundle dead-letters retry $LETTER",
    "dead-letters show": "hisbundle dead-letters show $LETTER --json",
    "demo": "hisbundle demo --to demo",
    "ecg export": "hisbundle ecg export 'patient:4711 state:delivered' --format pdf --to pages",
    "ecg list": "hisbundle ecg list 'state:delivered received>=2026-01-01' --json",
    "ecg show": "hisbundle ecg show $ECG --json",
    "encryption key": "hisbundle encryption key 2026-11 >> /etc/hisbundle/keys",
    "encryption rotate": "hisbundle encryption rotate --json",
    "encryption status": "hisbundle encryption status --json",
    "evaluate": "hisbundle evaluate --model-path runs/1 --data-path ptb-xl --json figures.json",
    "export": "hisbundle export --model-path runs/1 --data-path ptb-xl",
    "fhir sources": "hisbundle fhir sources --json",
    "import": "hisbundle import archive --patient-from-name --no-deliver --json",
    "keys list": "hisbundle keys list --json",
    "keys new": "hisbundle keys new --algorithm ES384 --json",
    "kafka check": "hisbundle kafka check --json",
    "migrate": "hisbundle migrate",
    "model list": "hisbundle model list --json",
    "model start": "hisbundle model start resting@0.9.0",
    "model stop": "hisbundle model stop resting@0.9.0 --why 'too many false alarms'",
    "replay cancel": "hisbundle replay cancel $REPLAY",
    "replay compare": "hisbundle replay compare 'model:resting@1*' --model-path $BUNDLE --json",
    "replay list": "hisbundle replay list --json",
    "replay pause": "hisbundle replay pause $REPLAY",
    "replay preview": "hisbundle replay preview 'state:failed' --stage score --json",
    "replay resume": "hisbundle replay resume $REPLAY --rate 50 --json",
    "replay run": "hisbundle replay run 'destination:ehr' --stage deliver --yes --json",
    "report confirm": "hisbundle report confirm $ECG --by 'https://hospital.example/staff|12'",
    "report override": "hisbundle report override $ECG --by 12 --text 'Sinus rhythm' --json",
    "report reject": "hisbundle report reject $ECG --by 12 --text 'another patient' --json",
    "report show": "hisbundle report show $ECG --json",
    "restore": "hisbundle restore hisbundle.backup --yes --json",
    "retention hold": "hisbundle retention hold --ecg $ECG --why 'case 12'",
    "retention holds": "hisbundle retention holds --json",
    "retention release": "hisbundle retention release $HOLD",
    "retention run": "hisbundle retention run --vacuum --json",
    "retention show": "hisbundle retention show --json",
    "score": "hisbundle score archive/4711.hea --json",
    "send mllp": "hisbundle send mllp message.hl7 --json",
    "serve": "hisbundle serve",
    "status": "hisbundle status --json",
    "streams": "hisbundle streams --rhythm AF --since 2026-01-01 --json",
    "train": "hisbundle train --data-path ptb-xl --epochs 20 --run-dir runs/1",
    "worker": "hisbundle worker --check",
}


def with_examples(name: str, found: click.Command) -> click.Command:
    """Return a command, or a group with its commands, with the examples in their help."""
    for below, one in every_command(found, name).items():
        if below in EXAMPLES:
            one.epilog = f"\b\nExample: {EXAMPLES[below]}"
    return found


def every_command(found: click.Command, name: str = "") -> dict[str, click.Command]:
    """Return name -> command of all in a group, however deep; of a command that is none, itself."""
    if not isinstance(found, click.Group):
        return {name: found}
    context = click.Context(found)
    return {
        path: one
        for below in found.list_commands(context)
        if (command := found.get_command(context, below)) is not None
        for path, one in every_command(command, f"{name} {below}".strip()).items()
    }
