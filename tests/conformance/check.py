"""Compares the verdicts of an Autobahn report with the expected ones, case by case.

Usage: check.py [--proxied LIST] EXPECTED REPORT [CASE...]. Exits 0 only when every expected case ran with exactly the
expected `behavior` and `behaviorClose` and no other case ran. A CASE may have a * in it, as in a spec of
Autobahn's, and then only those that match are expected. It never judges what a verdict means: that is in
the data, where OK stands everywhere but for the cases that Autobahn itself calls informational. In the cases of
LIST a `behavior` of NON-STRICT passes, too: they send invalid UTF-8 within one frame, which a proxy holds until it is
complete. Only the echo behind it looks at the text.
"""

import json
import re
import sys

AGENT = "weir"
FIELDS = ("behavior", "behaviorClose")


def natural(case):
    """Orders 9.10.1 after 9.9.1."""
    return [int(part) for part in case.split(".")]


def difference(expected, actual, is_proxied):
    """Says how one case differs, or None. `is_proxied`: NON-STRICT behavior passes."""
    if expected is None:
        return "ran, but is not among the expected cases"
    if actual is None:
        return "did not run"
    wrong = [
        f"{field} {actual.get(field)}, expected {expected[field]}"
        for field in FIELDS
        if actual.get(field) != expected[field]
        and not (is_proxied and field == "behavior" and actual.get(field) == "NON-STRICT")
    ]
    return "; ".join(wrong) or None


def differences(expected, report, proxied):
    """Maps each case that differs to a sentence, in the order of the cases."""
    actual = report.get(AGENT, {})
    cases = sorted(expected.keys() | actual.keys(), key=natural)
    found = {case: difference(expected.get(case), actual.get(case), case in proxied) for case in cases}
    return {case: text for case, text in found.items() if text}


def selected(case, patterns):
    """Whether a case is among those that the patterns name, read as Autobahn reads them."""
    texts = (pattern.replace(".", r"\.").replace("*", ".*") for pattern in patterns)
    return not patterns or any(re.match(text, case) for text in texts)


def main(expected_path, report_path, *patterns, proxied=()):
    with open(expected_path, encoding="utf-8") as file:
        expected = json.load(file)
    expected = {case: verdict for case, verdict in expected.items() if selected(case, patterns)}
    try:
        with open(report_path, encoding="utf-8") as file:
            report = json.load(file)
    except FileNotFoundError:
        report = {}
    failed = differences(expected, report, proxied)
    for case, text in failed.items():
        print(f"case {case}: {text}")
    passed = sum(case not in failed for case in expected)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    cases = []
    if arguments[0] == "--proxied":
        with open(arguments[1], encoding="utf-8") as file:
            cases = json.load(file)
        arguments = arguments[2:]
    sys.exit(main(*arguments, proxied=cases))
