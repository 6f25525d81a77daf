"""Shows that check.py notices each way in which a run can fall short. Run by `python3 -m unittest`."""

import contextlib
import copy
import io
import json
import pathlib
import tempfile
import unittest

import check

EXPECTED = pathlib.Path(__file__).with_name("expected.json")
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}


class Check(unittest.TestCase):
    def setUp(self):
        self.expected = json.loads(EXPECTED.read_text())
        self.report = {"weir": copy.deepcopy(self.expected)}

    def run_check(self, *patterns, proxied=()):
        """Answers the exit status and the lines printed."""
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "index.json")
            if self.report is not None:
                path.write_text(json.dumps(self.report))
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                status = check.main(EXPECTED, path, *patterns, proxied=proxied)
        return status, output.getvalue().splitlines()

    def assert_fails(self, *lines):
        self.assertEqual(self.run_check(), (1, list(lines)))

    def test_expected_verdicts_are_the_strictest_possible(self):
        self.assertEqual(len(self.expected), 517)
        for case, verdict in self.expected.items():
            value = "INFORMATIONAL" if case in INFORMATIONAL else "OK"
            self.assertEqual(verdict, {"behavior": value, "behaviorClose": value}, case)

    def test_a_perfect_run_passes(self):
        self.assertEqual(self.run_check(), (0, ["517 passed, 0 failed"]))

    def test_non_strict_behavior_fails(self):
        self.report["weir"]["6.4.1"]["behavior"] = "NON-STRICT"
        self.assert_fails("case 6.4.1: behavior NON-STRICT, expected OK", "516 passed, 1 failed")

    def test_non_strict_behavior_passes_in_the_cases_of_a_proxy_alone(self):
        ran = self.report["weir"]
        ran["3.2"]["behavior"] = ran["3.4"]["behavior"] = "NON-STRICT"
        status, lines = self.run_check(proxied=["3.2", "3.3"])
        self.assertEqual((status, lines[-1]), (1, "516 passed, 1 failed"))
        ran["3.4"]["behavior"] = "OK"
        self.assertEqual(self.run_check(proxied=["3.2", "3.3"])[0], 0)
        ran["3.2"]["behavior"] = "FAILED"
        self.assertEqual(self.run_check(proxied=["3.2", "3.3"])[0], 1)

    def test_an_unclean_close_fails(self):
        self.report["weir"]["7.1.1"]["behaviorClose"] = "UNCLEAN"
        self.assert_fails("case 7.1.1: behaviorClose UNCLEAN, expected OK", "516 passed, 1 failed")

    def test_an_unimplemented_case_fails(self):
        self.report["weir"]["9.1.1"] = {"behavior": "UNIMPLEMENTED", "behaviorClose": "UNIMPLEMENTED"}
        self.assertEqual(self.run_check()[0], 1)

    def test_a_failed_informational_case_fails(self):
        self.report["weir"]["7.1.6"]["behavior"] = "FAILED"
        self.assertEqual(self.run_check()[0], 1)

    def test_a_missing_case_fails(self):
        del self.report["weir"]["9.8.6"]
        self.assert_fails("case 9.8.6: did not run", "516 passed, 1 failed")

    def test_a_missing_field_fails(self):
        del self.report["weir"]["1.1.1"]["behavior"]
        self.assertEqual(self.run_check()[0], 1)

    def test_one_case_too_many_fails(self):
        self.report["weir"]["12.1.19"] = {"behavior": "OK", "behaviorClose": "OK"}
        self.assert_fails("case 12.1.19: ran, but is not among the expected cases", "517 passed, 1 failed")

    def test_only_the_cases_that_were_named_are_expected(self):
        of_deflate = ("12.*.[1-3]$", "13.*.[1-3]$")
        ran = self.report["weir"]
        self.report["weir"] = {case: ran[case] for case in ran if check.selected(case, of_deflate)}
        self.assertEqual(self.run_check(*of_deflate), (0, ["36 passed, 0 failed"]))
        self.assertEqual(self.run_check("12.*.[1-3]$")[1][-1], "15 passed, 21 failed")
        self.assertEqual(self.run_check("12.*", "13.*")[1][-1], "36 passed, 180 failed")

    def test_another_agent_does_not_count(self):
        self.report = {"other": self.report["weir"]}
        self.assertEqual(self.run_check()[1][-1], "0 passed, 517 failed")

    def test_no_report_fails(self):
        self.report = None
        self.assertEqual(self.run_check()[1][-1], "0 passed, 517 failed")


if __name__ == "__main__":
    unittest.main()
