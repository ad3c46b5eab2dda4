# SPDX-License-Identifier: Apache-2.0
"""Runs a suite and prints its numbers in the form that scripts/test counts."""

import sys
import unittest


def run(suite):
    """The exit status: 0 if something ran and nothing failed."""
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    for test, reason in result.skipped:
        print(f"SKIPPED {test.id()}: {reason}")
    passed = max(0, result.testsRun - failed - skipped)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0
