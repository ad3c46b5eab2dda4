#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The scenarios of docs/examples by `sluice test --kernel`: the rules say and the kernel does the same.
sluice test --kernel /scenarios/*.yaml >/tmp/scenarios.log 2>&1
status=$?
cat /tmp/scenarios.log
numbers=$(sed -n 's/^[0-9]* scenarios, \([0-9]*\) probes, \([0-9]*\) failed$/\1 \2/p' /tmp/scenarios.log)
[ -n "$numbers" ] || exit 1
set -- $numbers
echo "$(($1 - $2)) passed, $2 failed, 0 skipped"
exit $status
