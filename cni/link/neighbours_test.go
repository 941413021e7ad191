package link

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Limits that are lower are raised, and others stay, also those that the kernel lacks.
func TestNeighbourTablesAreRaisedAndNeverLowered(t *testing.T) {
	dir := t.TempDir()
	for path, value := range map[string]string{
		"ipv4/neigh/default/gc_thresh1": "128\n",
		"ipv4/neigh/default/gc_thresh2": "512\n",
		"ipv4/neigh/default/gc_thresh3": "1024\n",
		"ipv6/neigh/default/gc_thresh1": "5000\n",
		"ipv6/neigh/default/gc_thresh3": "80000\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raised, err := raise(dir, neighbourFloors())
	if err != nil {
		t.Fatal(err)
	}
	want := "net.ipv4.neigh.default.gc_thresh3 was 1024, not 20000; net.ipv4.neigh.default.gc_thresh2 was 512, not 10000; net.ipv4.neigh.default.gc_thresh1 was 128, not 5000"
	if got := strings.Join(raised, "; "); got != want {
		t.Errorf("raised: %s\nwant:   %s", got, want)
	}
	for path, want := range map[string]string{"ipv4/neigh/default/gc_thresh3": "20000", "ipv6/neigh/default/gc_thresh3": "80000"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %s, %v", path, got, err)
		}
	}
	if raised, err := raise(dir, neighbourFloors()); len(raised) > 0 || err != nil {
		t.Errorf("once more: %v, %v", raised, err)
	}
}

// A namespace of its own has no such limits: nothing is raised, and nothing is wrong.
func TestANamespaceHasNoNeighbourLimits(t *testing.T) {
	if raised, err := RaiseNeighbours(); len(raised) > 0 || err != nil {
		t.Errorf("%v, %v", raised, err)
	}
}
