from pathlib import Path

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")


def test_a_test_that_logs_an_identifier_fails(pytester):
    source = CONFTEST.read_text()
    hook = "class Eavesdropper" + source.split("class Eavesdropper")[1].split("@pytest.fixture")[0]
    head = "import logging\nimport pytest\nfrom integration.logs import PlainFormatter\n"
    pytester.makeconftest(f'{head}CANARY = "Z" + "ZCANARY"\n\n{hook}')
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
