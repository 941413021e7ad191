package folder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestAnyHistoryEndsAsAFreshStart: whatever is done to a folder, once nothing in
// it is broken, the cache holds what a fresh start finds. Before that, a broken
// object affects only itself.
func TestAnyHistoryEndsAsAFreshStart(t *testing.T) {
	for range 40 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Chdir(t.TempDir())
			w := &editor{t: t, random: rand.New(rand.NewPCG(seed, 0)), files: map[string][]doc{}}
			w.write("a.yaml")
			c := open(t, "dir")
			for range 30 {
				for range 1 + w.random.IntN(3) {
					w.edit()
				}
				c.scan(t.Context(), nil)
				w.checkBroken(c)
			}
			w.mend()
			c.scan(t.Context(), nil)
			fresh := open(t, "dir")
			if diff := cmp.Diff(fresh.describe(), c.describe()); diff != "" {
				t.Errorf("objects -fresh +walked:\n%s", diff)
			}
			if diff := cmp.Diff(describeProblems(fresh), describeProblems(c)); diff != "" {
				t.Errorf("problems -fresh +walked:\n%s", diff)
			}
			if diff := cmp.Diff(stored(t, fresh), stored(t, c)); diff != "" {
				t.Errorf("store -fresh +walked:\n%s", diff)
			}
		})
	}
}

// stored is what the cache's readers see, but for versions.
func stored(t *testing.T, c *Cache) []corev1.Service {
	t.Helper()
	var list corev1.ServiceList
	if err := c.Live().List(t.Context(), &list, client.InNamespace("shop")); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		list.Items[i].ResourceVersion = ""
	}
	return list.Items
}

// doc is a document in the hand of an editor.
type doc struct {
	name string // of its Service
	port int
	// how it is broken: not at all, in a field, or so that it cannot be read.
	state string
}

func (d doc) text() string {
	text := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: %s}\nspec: {ports: [{port: %d}]}\n", d.name, d.port)
	switch d.state {
	case "field":
		return text + "spek: {}\n"
	case "syntax":
		return text + "spek: {\n"
	}
	return text
}

// editor changes a folder as people do.
type editor struct {
	t      *testing.T
	random *rand.Rand
	files  map[string][]doc
	port   int
}

func (w *editor) edit() {
	names := []string{"a.yaml", "b.yaml", "sub/c.yaml", "sub/deep/d.yaml"}
	name := names[w.random.IntN(len(names))]
	switch w.random.IntN(8) {
	case 0: // delete a file
		delete(w.files, name)
		w.remove(name)
		return
	case 1: // delete a folder
		w.remove("sub")
		maps.DeleteFunc(w.files, func(name string, _ []doc) bool { return strings.HasPrefix(name, "sub/") })
		return
	case 2: // move a document to another file
		if from := w.files[name]; len(from) > 0 {
			other := names[w.random.IntN(len(names))]
			moved := from[0]
			w.files[name] = from[1:]
			w.write(name)
			w.files[other] = append(w.files[other], moved)
			w.write(other)
		}
		return
	case 3: // break a document
		if docs := w.files[name]; len(docs) > 0 {
			docs[w.random.IntN(len(docs))].state = []string{"field", "syntax"}[w.random.IntN(2)]
		}
	case 4: // take one away
		if docs := w.files[name]; len(docs) > 0 {
			i := w.random.IntN(len(docs))
			w.files[name] = slices.Delete(docs, i, i+1)
		}
	default: // add or change one
		w.port++
		d := doc{name: string(rune('a' + w.random.IntN(5))), port: 1 + w.port}
		if docs := w.files[name]; len(docs) > 0 && w.random.IntN(2) == 0 {
			docs[w.random.IntN(len(docs))] = d
		} else {
			w.files[name] = append(docs, d)
		}
	}
	w.write(name)
}

// write writes a file in one of the ways that editors have.
func (w *editor) write(name string) {
	w.t.Helper()
	var text strings.Builder
	for _, d := range w.files[name] {
		text.WriteString("---\n" + d.text())
	}
	path := filepath.Join("dir", name)
	if w.random.IntN(2) == 0 {
		write(w.t, path, text.String())
		return
	}
	write(w.t, path+"~", text.String())
	if err := os.Rename(path+"~", path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *editor) remove(name string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join("dir", name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *editor) mend() {
	for name, docs := range w.files {
		for i := range docs {
			docs[i].state = ""
		}
		w.write(name)
	}
}

// checkBroken: every object that is declared well anywhere exists, in a version
// that is declared.
func (w *editor) checkBroken(c *Cache) {
	w.t.Helper()
	wanted := map[string][]int{}
	for _, docs := range w.files {
		for _, d := range docs {
			if d.state == "" {
				wanted[d.name] = append(wanted[d.name], d.port)
			}
		}
	}
	for _, service := range stored(w.t, c) {
		if ports, ok := wanted[service.Name]; ok && !slices.Contains(ports, int(service.Spec.Ports[0].Port)) {
			w.t.Errorf("Service %s has port %d, none of %v", service.Name, service.Spec.Ports[0].Port, ports)
		}
		delete(wanted, service.Name)
	}
	if len(wanted) > 0 {
		w.t.Errorf("declared well and not there: %v", wanted)
	}
}

func TestVersionsRiseOnlyWithContent(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/a.yaml", doc{"a", 80, ""}.text())
	write(t, "dir/b.yaml", doc{"b", 80, ""}.text())
	c := open(t, "dir")
	versions := func() string {
		var list corev1.ServiceList
		if err := c.Live().List(t.Context(), &list); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, s := range list.Items {
			all = append(all, s.Name+"="+s.ResourceVersion)
		}
		return strings.Join(all, " ")
	}
	for _, step := range []struct{ what, a, want string }{
		{"the start", doc{"a", 80, ""}.text(), "a=1 b=2"},
		{"a comment", "# changed\n" + doc{"a", 80, ""}.text(), "a=1 b=2"},
		{"another spelling", strings.Replace(doc{"a", 80, ""}.text(), "{port: 80}", "\n- {port: 80, targetPort: 80}\n", 1), "a=1 b=2"},
		{"a change", doc{"a", 81, ""}.text(), "a=3 b=2"},
		{"another file for it", "", "b=2"},
		{"and back", doc{"a", 81, ""}.text(), "a=5 b=2"},
	} {
		if step.what == "another spelling" {
			step.a = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  namespace: shop\nspec:\n  ports:\n  - targetPort: 80\n    port: 80\n"
		}
		write(t, "dir/a.yaml", step.a)
		c.scan(t.Context(), nil)
		if got := versions(); got != step.want {
			t.Errorf("after %s: %s, want %s", step.what, got, step.want)
		}
	}
}

func TestAFileOfTheSameTimeAndSizeIsReadAgainWhenTouched(t *testing.T) {
	t.Chdir(t.TempDir())
	long := time.Now().Add(-time.Hour)
	put := func(port int) {
		write(t, "dir/a.yaml", doc{"a", port, ""}.text())
		if err := os.Chtimes("dir/a.yaml", long, long); err != nil {
			t.Fatal(err)
		}
	}
	put(80)
	c := open(t, "dir")
	put(81)
	c.scan(t.Context(), map[string]bool{"dir/a.yaml": true})
	if got := c.describe(); !strings.Contains(got, "TCP/81") {
		t.Errorf("objects %s", got)
	}
}
