"""The Kubernetes manifests: rendered where kubectl is, held against the API's own schemas."""

import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from integration.config import CONFIG_VARIABLE, WorkerSettings, load_settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]


def named(manifest):
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


# Name -> specification of its pods.
PODS = {
    named(manifest): manifest["spec"]["template"]["spec"]
    for manifest in MANIFESTS
    if manifest["kind"] in {"Deployment", "Job"}
}
MOUNTS = [
    mount for spec in PODS.values() for one in spec["containers"] for mount in one["volumeMounts"]
]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
def test_a_manifest_is_what_the_api_takes(manifest):
    kubernetes_validate.validate(manifest, "1.33", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_rights_and_write_nowhere_else(name):
    spec = PODS[name]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        for mount in container["volumeMounts"]:
            assert mount.get("readOnly") or "emptyDir" in volumes[mount["name"]]
    assert set(volumes) == {m["name"] for c in spec["containers"] for m in c["volumeMounts"]}


def test_what_refers_to_pods_finds_them():
    labels = [
        m["spec"]["template"]["metadata"]["labels"] for m in MANIFESTS if m["kind"] == "Deployment"
    ]
    deployments = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == "Deployment"}
    budgets = set()
    for manifest in MANIFESTS:
        spec = manifest["spec"]
        match manifest["kind"]:
            case "Service":
                assert spec["selector"] in labels
            case "PodDisruptionBudget" | "Deployment":
                assert spec["selector"]["matchLabels"] in labels
                if manifest["kind"] == "PodDisruptionBudget":
                    budgets.add(manifest["metadata"]["name"])
            case "NetworkPolicy":
                assert spec["podSelector"]["matchLabels"] in labels
            case "HorizontalPodAutoscaler":
                assert spec["scaleTargetRef"]["name"] in deployments
                assert "replicas" not in deployments[spec["scaleTargetRef"]["name"]]["spec"]
    assert budgets == set(deployments)


@pytest.mark.parametrize("name", PODS)
def test_services_put_nothing_among_the_settings(name):
    assert PODS[name]["enableServiceLinks"] is False


def test_everything_that_runs_is_probed():
    for name, spec in PODS.items():
        for container in spec["containers"]:
            probes = {key for key in container if key.endswith("Probe")}
            if name.endswith("listener"):
                assert probes == {"startupProbe", "livenessProbe", "readinessProbe"}
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            elif name.endswith("worker"):
                assert probes == {"startupProbe", "livenessProbe"}
                command = container["livenessProbe"]["exec"]["command"]
                assert command == ["hisbundle", "worker", "--check"]


def test_there_is_time_to_finish_what_is_under_way():
    for spec in PODS.values():
        for container in spec["containers"]:
            before = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
            (waited_s,) = before.get("command", ["sleep", "0"])[1:]
            left_s = spec.get("terminationGracePeriodSeconds", 30) - int(waited_s)
            if container["args"] == ["serve"]:
                assert int(waited_s) >= 5, "until nobody sends connections here"
            if container["args"] in (["serve"], ["worker"]):
                assert left_s > WorkerSettings().time_limit_s


def test_the_autoscaler_asks_for_what_the_adapter_gives():
    (scaler,) = (m for m in MANIFESTS if m["kind"] == "HorizontalPodAutoscaler")
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"] == rule["seriesQuery"]


def test_the_settings_load(monkeypatch):
    monkeypatch.setenv(CONFIG_VARIABLE, str(FOLDER / "hisbundle.toml"))
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", "postgresql://hisbundle@db/hisbundle")
    monkeypatch.setenv("HISBUNDLE_BROKER_URL", "amqp://hisbundle@mq//")
    monkeypatch.setenv("HISBUNDLE_HTTP__TOKEN", "a-token-of-enough-characters")
    settings = load_settings()
    assert settings.mllp.tls is not None
    assert settings.senders
    mounts = {mount["mountPath"] for mount in MOUNTS}
    assert str(settings.data_dir) in mounts
    assert str(settings.mllp.tls.certificate.parent) in mounts


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl to render with")
def test_kustomize_renders_them():
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(MANIFESTS) + 1  # the settings
    assert {m["metadata"]["namespace"] for m in rendered} == {"hisbundle"}
    images = {
        container["image"]
        for m in rendered
        if m["kind"] in {"Deployment", "Job"}
        for container in m["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"hisbundle:0.1.0"}
