package announcement

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// What is written is read by the next agent of the node, in the same boot and in no other.
func TestWhatIsRemembered(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	m := Memory{Path: MemoryIn(folder), Boot: "b1"}
	if got, err := m.read("n1"); got != nil || err != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
	for _, want := range [][]netip.Addr{addrs("192.0.2.1", "2001:db8::1"), {}, addrs("192.0.2.2")} {
		if err := m.write("n1", want); err != nil {
			t.Fatal(err)
		}
		if got, err := m.read("n1"); !slices.Equal(got, want) || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	if got, err := m.read("n2"); got != nil || err != nil {
		t.Errorf("another node's: %v, %v", got, err)
	}
	if got, err := (Memory{Path: m.Path, Boot: "b2"}).read("n1"); got != nil || err != nil {
		t.Errorf("of an earlier boot: %v, %v", got, err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
		t.Errorf("the folder has %v, %v", left, err)
	}
	for range 2 {
		if err := Forget(folder); err != nil {
			t.Error(err)
		}
	}
	if got, err := m.read("n1"); got != nil || err != nil {
		t.Errorf("after it was forgotten: %v, %v", got, err)
	}
	if got, err := (Memory{}).read("n1"); got != nil || err != nil {
		t.Errorf("without a path: %v, %v", got, err)
	}
}

// A file that cannot be read is as good as none, and is told of.
func TestWhatCannotBeRemembered(t *testing.T) {
	path := MemoryIn(t.TempDir())
	many := make([]string, mostMemory/16)
	for i := range many {
		many[i] = `"192.0.2.1", "2001:db8::1"`
	}
	for name, text := range map[string]string{
		"empty":               "",
		"half":                `{"version":1,"boot":"b1","node":"n1","addr`,
		"a newer one":         `{"version":2,"boot":"b1","node":"n1","addresses":["192.0.2.1"]}`,
		"of no version":       `{"boot":"b1","node":"n1","addresses":["192.0.2.1"]}`,
		"what is no address":  `{"version":1,"boot":"b1","node":"n1","addresses":["x"]}`,
		"more than is read":   `{"version":1,"boot":"b1","node":"n1","addresses":[` + strings.Join(many, ",") + `]}`,
		"not what is written": `[1]`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (Memory{Path: path, Boot: "b1"}).read("n1"); got != nil || err == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	addresses := make([]netip.Addr, mostRemembered+1)
	for i := range addresses {
		addresses[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	m := Memory{Path: path, Boot: "b1"}
	if err := m.write("n1", addresses); err != nil {
		t.Fatal(err)
	}
	if got, err := m.read("n1"); len(got) != mostRemembered || err != nil {
		t.Errorf("%d addresses of %d, %v", len(got), len(addresses), err)
	}
}
