# shellcheck shell=bash
# For scripts that run something slow; they have a function say TEXT.

every=15 # seconds between two progress lines of a slow step

# watch WHAT LOG COMMAND...: run COMMAND with its output in LOG, and report
# progress from time to time. COMMAND ends with the script.
watch() {
	local what=$1 log=$2 began=$SECONDS said=$SECONDS traps
	shift 2
	traps=$(trap -p INT TERM)
	"$@" >"$log" 2>&1 &
	local child=$!
	trap 'kill "$child" 2>/dev/null; wait "$child" || exit 130' INT TERM
	while kill -0 "$child" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - said >= every)); then
			said=$SECONDS
			say "$what: $((SECONDS - began)) s, $(wc -l <"$log") steps, now $(tail -n 1 "$log" | cut -c 1-90)"
		fi
	done
	trap - INT TERM
	eval "$traps"
	wait "$child"
}
