package road

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// RSS is the resident memory of Envoy in bytes.
func (e *Envoy) RSS(t testing.TB) int64 {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		// A process that is gone has none.
		command, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(command, []byte(e.process.Dir+"/")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return rss(t, pid)
	}
	t.Fatal("no Envoy runs in " + e.process.Dir)
	return 0
}
