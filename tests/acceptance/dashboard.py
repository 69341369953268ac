"""Asks a Prometheus each of the dashboard's queries, as Grafana would, and for the series that each of
its alerts looks at; says which it cannot answer.

dashboard.py DASHBOARD.json http://127.0.0.1:PORT
"""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

VARIABLES = {"$__rate_interval": "20s", "$job": "connector-wss", "$instance": ".*", "$exchange": ".*"}


def ask(path, **parameters):
    url = f"{sys.argv[2]}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer = json.load(answer)
    except urllib.error.HTTPError as error:
        answer = json.load(error)
    assert answer["status"] == "success", f"{answer.get('error')}: {parameters}"
    assert not answer.get("warnings"), f"{answer['warnings']}: {parameters}"
    return answer["data"]


with open(sys.argv[1]) as file:
    dashboard = json.load(file)
queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
empty = []
for query in queries:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    now = time.time()
    found = ask("query", query=query, time=now)["result"]
    ask("query_range", query=query, start=now - 60, end=now, step=5)
    # What compares may hold for nothing; no minute may have ended yet.
    if not found and "> 0" not in query:
        empty.append(query)
# An alert that looks at no series never fires.
rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
for rule in rules:
    for selector in re.findall(r"\b(?:up|(?:connector|process)_\w+)\b(?:\{[^}]*\})?", rule["query"]):
        if not ask("query", query=selector)["result"]:
            empty.append(f"{rule['name']}: {selector}")
assert rules and not empty, f"nothing is shown by {empty}"
print(f"{len(queries)} queries and {len(rules)} alerts have their series")
