#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes prometheusrule.yaml, which is rules.yaml for the Prometheus operator.

  deploy/alerts/generate.py            writes it
  deploy/alerts/generate.py --check    says whether it is as it should be
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_SOURCE, _TARGET = os.path.join(_HERE, "rules.yaml"), os.path.join(_HERE, "prometheusrule.yaml")
_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# Written by generate.py from rules.yaml, which is to be changed instead.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sluice
  labels:
    app.kubernetes.io/part-of: sluice
spec:
"""


def text():
    with open(_SOURCE, encoding="utf-8") as file:
        lines = file.read().splitlines()
    groups = lines[lines.index("groups:"):]
    return _HEADER + "".join(f"  {line}\n" if line else "\n" for line in groups)


def main():
    if "--check" not in sys.argv[1:]:
        with open(_TARGET, "w", encoding="utf-8") as file:
            file.write(text())
        return 0
    try:
        with open(_TARGET, encoding="utf-8") as file:
            if file.read() == text():
                return 0
    except FileNotFoundError:
        pass
    print("prometheusrule.yaml is not what generate.py writes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
