"""Prints, after the tests, what was measured: strategies x precision x loss."""

from processes import TABLE


def pytest_terminal_summary(terminalreporter):
    for line in TABLE:
        terminalreporter.write_line(line)
