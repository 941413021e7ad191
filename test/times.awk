# How long the tests of each package took, of what go test says; not of those that
# it did not run again.
$1 == "ok" || $1 == "FAIL" {
	if ($3 !~ /^[0-9.]+s$/) next
	sub(/^github.com\/fairwaynet\/fairway\//, "", $2)
	printf "%8.1f s  %s\n", $3, $2
}
