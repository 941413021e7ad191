package strangers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// rss is Envoy's resident memory in bytes.
func (s *site) rss() int64 {
	s.Helper()
	if s.runs == 0 {
		s.runs = s.pid()
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.runs))
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				s.Fatal(err)
			}
			return kib << 10
		}
	}
	s.Fatal("Envoy has no VmRSS")
	return 0
}

// pid is the process with our bootstrap on its command line.
func (s *site) pid() int {
	s.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.Fatal(err)
	}
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), s.envoy.Dir+"/") {
			continue // it has ended, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			s.Fatal(err)
		}
		return pid
	}
	s.Fatal("Envoy does not run")
	return 0
}

// grown says how much memory Envoy has taken since before, and fails the test
// if that is more than it may.
func (s *site) grown(before, atMost int64) {
	s.Helper()
	now := s.rss()
	s.Logf("Envoy's memory: %d MiB before, %d MiB now", before/mib, now/mib)
	if now-before > atMost {
		s.Errorf("Envoy has grown by %d MiB, want at most %d", (now-before)/mib, atMost/mib)
	}
}
