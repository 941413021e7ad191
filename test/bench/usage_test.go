package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used of the machine.
type usage struct {
	cpu       time.Duration // since it started
	rss, peak int64         // bytes that are resident, and were at most
}

func usageOf(b *testing.B, pid int) usage {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	var u usage
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "VmRSS":
			u.rss = kib(b, value)
		case "VmHWM":
			u.peak = kib(b, value)
		}
	}
	u.cpu = cpuOf(b, pid)
	return u
}

func kib(b *testing.B, value string) int64 {
	b.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// cpuOf is the time that all threads of a process have run, to 10 ms.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// Behind the name, which may hold anything, the state is field 3.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const user, system = 14 - 3, 15 - 3
	ticks := 0
	for _, i := range []int{user, system} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// requestsFirst is whether whatever a request goes through has the CPUs before
// all else: Envoy, the load and the backend.
func requestsFirst() bool { return os.Getenv("FAIRWAY_BENCH_REQUESTS_FIRST") != "" }

// prefer lets all threads of a process, and those that they will start, run
// before those of others.
func prefer(b *testing.B, pid int) {
	b.Helper()
	done := map[string]bool{}
	for more := true; more; { // threads start others meanwhile
		more = false
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			b.Fatal(err)
		}
		for _, thread := range threads {
			if done[thread.Name()] {
				continue
			}
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				b.Fatal(err)
			}
			const before = -19
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, before); err != nil && !errors.Is(err, unix.ESRCH) {
				b.Fatal(err)
			}
			done[thread.Name()], more = true, true
		}
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
