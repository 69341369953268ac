"""Reads an Autobahn index.json: exits with 1 unless every case passed strictly and ended with a right close code.

usage: autobahn_verdict.py INDEX CASES_AT_LEAST
"""

import json
import sys

GOOD = {"OK", "INFORMATIONAL"}


def code_wanted(case):
    """The close code of a case that has to be failed; None where the suite's own verdict is enough."""
    if case.startswith(("6.3.", "6.4.", "7.5.")):
        return 1007
    if case.startswith(("3.", "4.", "7.9.")) or case in ("2.5", "5.1", "5.2", "7.3.2", "7.3.6"):
        return 1002
    return None


index, least = json.load(open(sys.argv[1])), int(sys.argv[2])
bad, count = [], 0
for agent, cases in index.items():
    for case, verdict in cases.items():
        count += 1
        behaviors = verdict["behavior"], verdict["behaviorClose"]
        code = verdict["remoteCloseCode"]
        wanted = code_wanted(case)
        if not GOOD.issuperset(behaviors) or (wanted and code != wanted):
            bad.append(f"{agent} {case}: {behaviors[0]}, close {behaviors[1]} {code}, wanted {wanted}")
        # A connection that ended without any Close, but for the one whose Close has no payload.
        if code is None and case != "7.3.1":
            bad.append(f"{agent} {case}: no close code")
print("\n".join(bad) or f"{count} cases")
sys.exit(1 if bad or count < least else 0)
