from pathlib import Path

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")


def test_a_test_that_logs_an_identifier_fails(pytester):
    hook = CONFTEST.read_text().split("@pytest.hookimpl")[1].split("@pytest.fixture")[0]
    pytester.makeconftest(f'import pytest\nCANARY = "Z" + "ZCANARY"\n\n@pytest.hookimpl{hook}')
    pytester.makepyfile(
        """
        import logging

        def test_leaks():
            logging.getLogger("x").warning("patient Z%s", "ZCANARY-1")

        def test_keeps_quiet():
            logging.getLogger("x").warning("patient 7")
        """
    )
    outcome = pytester.runpytest_subprocess()
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(["*test_leaks logged patient data*"])
