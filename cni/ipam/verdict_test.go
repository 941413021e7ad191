package ipam

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVerdict(t *testing.T) {
	l := lease(1)
	alive := map[Namespace]bool{{Device: l.Namespace.Device, Inode: l.Namespace.Inode}: true}
	none, old := map[string]bool{}, created.Add(Grace)
	for name, test := range map[string]struct {
		node Node
		want Verdict
	}{
		"of another boot, whatever lives": {Node{Boot: "boot-2", Sandboxes: map[string]bool{"c1": true}, Namespaces: alive}, OtherBoot},
		"sandbox":                         {Node{Boot: "boot-1", Now: old, Sandboxes: map[string]bool{"c1": true}, Namespaces: map[Namespace]bool{}}, Alive},
		"namespace":                       {Node{Boot: "boot-1", Now: old, Sandboxes: none, Namespaces: alive}, Alive},
		"young":                           {Node{Boot: "boot-1", Now: old.Add(-1), Sandboxes: none, Namespaces: map[Namespace]bool{}}, Alive},
		"clock set back":                  {Node{Boot: "boot-1", Now: created.Add(-time.Hour), Sandboxes: none, Namespaces: map[Namespace]bool{}}, Alive},
		"runtime is away":                 {Node{Boot: "boot-1", Now: old, Namespaces: map[Namespace]bool{}}, Alive},
		"leaked":                          {Node{Boot: "boot-1", Now: old, Sandboxes: none, Namespaces: map[Namespace]bool{}}, Leaked},
	} {
		if got := test.node.Verdict(l); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	l := Leases{Dir: t.TempDir()}
	for name, text := range map[string]string{"10.1.0.1": "", "10.1.0.2": `{"version":1,"bo`, "10.1.0.3": `{"version":2,"boot":7}`, "notes.txt": "x"} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Take(wait(t), lease(1), Wanted{Ranges: ranges("10.1.0.0/30")}); err == nil {
		t.Error("an address of a file that cannot be read is given")
	}
	leases, bad, err := l.All()
	if err != nil || len(leases) > 0 || len(bad) != 3 {
		t.Fatal(leases, bad, err)
	}
	later := Node{Booted: time.Now().Add(time.Hour)}
	for i, want := range []Verdict{CutOff, CutOff, Unknown} {
		if got := later.VerdictUnreadable(bad[i]); got != want {
			t.Errorf("%s: %s, want %s", bad[i].Name, got, want)
		}
		if got := (Node{Booted: created.Add(-10_000 * time.Hour)}).VerdictUnreadable(bad[i]); got != Unknown {
			t.Errorf("%s of this boot: %s", bad[i].Name, got)
		}
	}
	if err := l.RemoveUnreadable(wait(t), bad[0]); err != nil || len(files(t, l.Dir)) != 3 {
		t.Error(err, files(t, l.Dir))
	}
}

func TestRemoveTakesOnlyTheLeaseThatWasRead(t *testing.T) {
	l := Leases{Dir: t.TempDir()}
	want := Wanted{Ranges: ranges("10.1.0.0/31")}
	old, err := l.Take(wait(t), lease(1), want)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(l.Dir, old.String())) // a lease without its key
	if all, _, _ := l.All(); len(all) != 1 || all[0].Key != old.Key {
		t.Fatal(all)
	}
	if err := l.Remove(wait(t), old); err != nil || len(files(t, l.Dir)) > 0 {
		t.Fatal(err, files(t, l.Dir))
	}
	next := lease(1)
	next.Created = created.Add(time.Second)
	if _, err := l.Take(wait(t), next, want); err != nil {
		t.Fatal(err)
	}
	if err := l.Remove(wait(t), old); err != nil || len(files(t, l.Dir)) != 2 {
		t.Error(err, files(t, l.Dir))
	}
	u, err := l.Usage(ranges("10.1.0.0/31", "fd00::/64"))
	if err != nil || u[0].Used != 1 || u[0].Size != 1 || u[1].Size != math.MaxUint64 {
		t.Error(u, err)
	}
}

func FuzzDecode(f *testing.F) {
	text, err := encode(lease(1))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(text), "", "{}", `{"version":2}`, strings.Replace(string(text), "{", `{"later":[1],`, 1)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decode(text)
		if err != nil {
			return
		}
		again, err := encode(l)
		if err != nil {
			if strings.Contains(err.Error(), "larger") || errors.As(err, new(*json.MarshalerError)) {
				return
			}
			t.Fatalf("%q is read and cannot be written: %v", text, err)
		}
		if back, err := decode(again); err != nil || !back.same(l) {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
	})
}

func BenchmarkTakeGive(b *testing.B) {
	for _, existing := range []int{0, 250} {
		for _, parallel := range []bool{false, true} {
			name := map[bool]string{false: "alone", true: "20 at once"}[parallel]
			b.Run(name+"/"+map[int]string{0: "0", 250: "250"}[existing], func(b *testing.B) { bench(b, existing, parallel) })
		}
	}
}
