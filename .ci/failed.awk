# What go test says of the tests that failed, of all that it said: with -v, the
# lines before the verdict; without, those after it. At most 80 lines of each. What
# make verify finds wrong stands before what it says of it, too.
/^=== RUN +[^\/]*$/ || /^--- (PASS|SKIP)/ || /^(ok|\?)[ \t]/ { n = 0; left = 0; next }
/^===/ || /^ +--- PASS/                                      { next }
/^ *--- FAIL/ {
	for (i = n > 80 ? n - 79 : 1; i <= n; i++) print before[i]
	n = 0
	left = 80
	print
	next
}
/^verify: / {
	for (i = n > 80 ? n - 79 : 1; i <= n; i++) print before[i]
	n = 0
	print
	next
}
/^FAIL/ || /^make: \*\*\*/ || /^# / || /\.go:[0-9]+:[0-9]+: / { n = 0; left = 0; print; next }
/^(panic|fatal error):/                                      { left = 80 }
left > 0                                                     { left--; print; next }
                                                             { before[++n] = $0 }
