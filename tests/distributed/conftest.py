"""Prints, after the tests, what was measured: strategies x precision x loss."""

TABLE: list[str] = []  # lines, filled by test_exactness.py


def pytest_terminal_summary(terminalreporter):
    for line in TABLE:
        terminalreporter.write_line(line)
