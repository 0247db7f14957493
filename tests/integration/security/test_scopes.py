import pytest

from integration.security.scopes import Need, given, need_of


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("GET", "DiagnosticReport", "system/DiagnosticReport.s"),
        ("HEAD", "DiagnosticReport/1", "system/DiagnosticReport.r"),
        ("GET", "Binary/1/", "system/Binary.r"),
        ("POST", "Observation", "system/Observation.c"),
        ("POST", "", "system/Observation.c"),
        ("POST", "$process-message", "system/Observation.c"),
        ("POST", "notify/ehr", "system/Observation.c"),
        ("PUT", "notify/ehr/Observation/1", "system/Observation.c"),
        ("POST", "DiagnosticReport/1/$confirm", "system/DiagnosticReport.u"),
        ("POST", "DiagnosticReport/_search", "system/DiagnosticReport.s"),
        ("PUT", "DiagnosticReport/1", "system/DiagnosticReport.u"),
        ("DELETE", "DiagnosticReport/1", "system/DiagnosticReport.d"),
    ],
)
def test_what_a_request_needs(method, path, need):
    assert str(need_of(method, path)) == need


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "notify/x"), ("TRACE", "Device"), ("GET", "../x")]
)
def test_what_no_scope_gives(method, path):
    assert need_of(method, path) is None


@pytest.mark.parametrize(
    ("scope", "letters"),
    [
        ("system/Observation.c", "c"),
        ("system/Observation.cruds", "cruds"),
        ("system/Observation.rs", "rs"),
        ("user/Observation.read", "rs"),
        ("system/*.write", "cud"),
        ("system/*.*", "cruds"),
        ("system/Observation.sr", ""),
        ("system/Observation.", ""),
        ("system/Observation.c?category=procedure", ""),
        ("patient/Observation.c", ""),
        ("system/Patient.cruds", ""),
        ("xsystem/Observation.c", ""),
    ],
)
def test_what_a_scope_gives(scope, letters):
    found = {letter for letter in "cruds" if given(["openid", scope], Need("Observation", letter))}
    assert found == set(letters)
