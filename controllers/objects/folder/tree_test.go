package folder

import (
	"cmp"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairwaynet/fairway/api/problem"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden: a case is a sentence, the states of a folder one after the other
// ("1/a.yaml", "2/a.yaml"; a state is complete), and what then counts.
func TestGolden(t *testing.T) {
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := filepath.Glob(filepath.Join(here, "*.txtar"))
	if err != nil || cases == nil {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			objects, problems, passed := play(t, archive)
			if *update {
				rewrite(t, path, archive, objects, problems, passed)
				return
			}
			for _, file := range archive.Files {
				switch file.Name {
				case "objects":
					if diff := gocmp.Diff(string(file.Data), objects); diff != "" {
						t.Errorf("objects -want +got:\n%s", diff)
					}
				case "passed":
					if diff := gocmp.Diff(string(file.Data), passed); diff != "" {
						t.Errorf("passed over -want +got:\n%s", diff)
					}
				case "problems":
					if diff := gocmp.Diff(string(file.Data), problems); diff != "" {
						t.Errorf("problems -want +got:\n%s", diff)
					}
				}
			}
		})
	}
}

// play brings the folder "dir" through its states.
func play(t *testing.T, archive *txtar.Archive) (objects, problems, passed string) {
	t.Helper()
	var c *Cache
	for state := 1; ; state++ {
		files := map[string][]byte{}
		for _, f := range archive.Files {
			if name, ok := strings.CutPrefix(f.Name, fmt.Sprintf("%d/", state)); ok {
				files[name] = f.Data
			}
		}
		if len(files) == 0 {
			return c.describe(), describeProblems(c), describePassed(c)
		}
		lay(t, "dir", files)
		if c == nil {
			c = open(t, "dir")
		} else {
			c.scan(t.Context(), nil)
		}
	}
}

// lay makes files all that is in a folder.
func lay(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), string(text))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, paths ...string) *Cache {
	t.Helper()
	c, err := New(Options{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// describe writes a line for each object that readers see: its place, and what
// tells its versions apart.
func (c *Cache) describe() string {
	var text strings.Builder
	all := maps.Clone(c.tree.objects)
	maps.Copy(all, c.tree.mirrored)
	for _, r := range sortedRefs(c.store.objects) {
		s := all[r]
		fmt.Fprintf(&text, "%s at %s", r, Place{s.place.file, s.place.line})
		if slice, ok := s.object.(*discoveryv1.EndpointSlice); ok {
			text.WriteString(describeSlice(slice))
		}
		if service, ok := s.object.(*corev1.Service); ok {
			for _, port := range service.Spec.Ports {
				fmt.Fprintf(&text, " %s/%d", port.Protocol, port.Port)
			}
		}
		text.WriteByte('\n')
	}
	return text.String()
}

// describeSlice is its ports and endpoints: "!" is not ready.
func describeSlice(slice *discoveryv1.EndpointSlice) string {
	text := " " + string(slice.AddressType)
	for _, port := range slice.Ports {
		text += fmt.Sprintf(" %s:%s/%d", *port.Name, *port.Protocol, *port.Port)
	}
	for _, endpoint := range slice.Endpoints {
		if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
			text += " !"
		} else {
			text += " "
		}
		text += strings.Join(endpoint.Addresses, "+")
	}
	return text
}

func describePassed(c *Cache) string {
	var text strings.Builder
	for _, p := range c.PassedOver() {
		fmt.Fprintln(&text, p)
	}
	return text.String()
}

func describeProblems(c *Cache) string {
	problems := slices.Clone(c.Problems())
	slices.SortStableFunc(problems, func(a, b problem.Problem) int {
		at, _ := c.Locate(a)
		bt, _ := c.Locate(b)
		return cmp.Or(cmp.Compare(at.File, bt.File), cmp.Compare(at.Line, bt.Line))
	})
	var text strings.Builder
	for _, p := range problems {
		place, _ := c.Locate(p)
		fmt.Fprintf(&text, "%s: %s: %s\n", place, p.Reason, p.Message)
	}
	return text.String()
}

func rewrite(t *testing.T, path string, archive *txtar.Archive, objects, problems, passed string) {
	t.Helper()
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "objects" || f.Name == "problems" || f.Name == "passed" })
	archive.Files = append(archive.Files, txtar.File{Name: "objects", Data: []byte(objects)}, txtar.File{Name: "problems", Data: []byte(problems)})
	if passed != "" {
		archive.Files = append(archive.Files, txtar.File{Name: "passed", Data: []byte(passed)})
	}
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAPathThatIsNotThereIsAnError(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := New(Options{Paths: []string{"absent"}}); err == nil || err.Error() != "absent cannot be read: no such file or directory" {
		t.Errorf("New = %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a.yaml", "b.yaml", "c/d/e.yaml", "f.yaml"} {
		write(t, filepath.Join("dir", name), strings.Replace(service, "NAME", strings.ReplaceAll(name[:1], "/", "-"), 1))
	}
	write(t, "dir/b.yaml", service+"# "+strings.Repeat("x", 1000))
	c, err := New(Options{Paths: []string{"dir"}, Limits: Limits{Depth: 2, Files: 1, FileSize: 500}})
	if err != nil {
		t.Fatal(err)
	}
	want := `dir/b.yaml: UnreadableFile: has 1114 bytes, more than the 500 that are read
dir/c/d: UnreadableFile: is more than 2 folders deep and is not read
dir/f.yaml: UnreadableFile: is beyond the 1 files that are read, and so is what comes after it
`
	if diff := gocmp.Diff(want, describeProblems(c)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStandardInput(t *testing.T) {
	c, err := New(Options{Paths: []string{"-"}, Stdin: strings.NewReader(service)})
	if err != nil {
		t.Fatal(err)
	}
	c.scan(t.Context(), nil)
	if want := "Service shop/NAME"; strings.Contains(c.describe(), want) {
		t.Errorf("objects %s: a name in capitals is none", c.describe())
	}
	c, err = New(Options{Paths: []string{"-"}, Stdin: strings.NewReader(strings.Replace(service, "NAME", "cart", 1))})
	if err != nil {
		t.Fatal(err)
	}
	c.scan(t.Context(), nil)
	if diff := gocmp.Diff("Service shop/cart at <stdin>:1 TCP/80\n", c.describe()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	mistake := problem.Problem{Object: problem.Object{Kind: "Service"}, Field: "spec.ports[0].port"}
	mistake.Object.Name.Namespace, mistake.Object.Name.Name = "shop", "cart"
	if place, ok := c.Locate(mistake); !ok || place.String() != "<stdin>:7" {
		t.Errorf("Locate = %s, %v", place, ok)
	}
}

// service is a Service NAME of the namespace shop.
const service = `apiVersion: v1
kind: Service
metadata: {namespace: shop, name: NAME}
spec:
  ports:
  - name: http
    port: 80
`

func TestReportsGoOutWithoutALock(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "dir/a.yaml", "kind: [\n")
	var c *Cache
	heard := 0
	c, err := New(Options{Paths: []string{"dir"}, Reporter: reporterFunc(func([]problem.Problem) {
		if heard++; c != nil {
			c.Locate(c.Problems()[0]) // would wait for ever
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	if heard != 0 {
		t.Error("heard of the files before Start")
	}
	c.scan(t.Context(), nil)
	c.scan(t.Context(), nil)
	if heard != 1 {
		t.Errorf("heard %d times of what did not change", heard)
	}
	write(t, "dir/a.yaml", "kind: [[\n")
	c.scan(t.Context(), nil)
	if heard != 2 {
		t.Errorf("heard %d times", heard)
	}
}

type reporterFunc func([]problem.Problem)

func (f reporterFunc) Report(_ context.Context, _ any, problems []problem.Problem) { f(problems) }

// FuzzParse: for any file, parse neither panics nor names lines that do not exist,
// and everything that it declares has a name.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		service, "kind: List\napiVersion: v1\nitems:\n- " + strings.ReplaceAll(service, "\n", "\n  "),
		`{"apiVersion": "v1", "kind": "ServiceList", "items": [{"metadata": {"name": "a"}}, {}]}`,
		"kind: ServiceList\napiVersion: v1\nitems: [{kind: List, apiVersion: v1, items: []}, 1]\n",
		"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [{host: a, http: {paths: [{}]}}]}\n",
		"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\nports: [{}]\n", "kind: a\n---\n...\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := parse("file", text)
		last := strings.Count(string(text), "\n") + 1
		for _, m := range c.mistakes {
			if m.line < 1 || m.line > last || m.message == "" {
				t.Errorf("mistake %+v in %d lines", m, last)
			}
		}
		for _, d := range c.declared {
			if d.ref.name.Name == "" || d.place.line < 1 || d.place.line > last {
				t.Errorf("object %s on line %d of %d", d.ref, d.place.line, last)
			}
			if d.object != nil && (d.object.GetName() != d.ref.name.Name || d.object.GetNamespace() != d.ref.name.Namespace) {
				t.Errorf("object %s is named %s/%s", d.ref, d.object.GetNamespace(), d.object.GetName())
			}
		}
	})
}

// A file in UTF-16, as Windows writes redirected output, holds all its objects,
// and mistakes in them have their line.
func TestUTF16(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	var wide []byte
	for _, unit := range utf16.Encode([]rune("\ufeffapiVersion: v1\nkind: Service\nmetadata: {name: cart}\n---\r\napiVersion: v1\r\nkind: Service\r\nmetadata: {name: till}\r\nspek: {}\r\n")) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	write(t, file, string(wide))
	c := open(t, dir)
	if got, want := c.describe(), fmt.Sprintf("Service default/cart at %s:1\n", file); got != want {
		t.Errorf("objects are %q, want %q", got, want)
	}
	if got, want := describeProblems(c), file+`:8: InvalidField: Service default/till: unknown field "spek"; it does not count`+"\n"; got != want {
		t.Errorf("problems are %q, want %q", got, want)
	}

	write(t, file, string(wide[:len(wide)-1]))
	c.scan(t.Context(), map[string]bool{file: true})
	if got, want := describeProblems(c), file+":8: InvalidSyntax: the file is UTF-16, and broken here: save it as UTF-8; what the file declared before stays until this is mended\n"; got != want {
		t.Errorf("problems are %q, want %q", got, want)
	}
}

// If there are more addresses than a cluster mirrors, the ready ones count first.
func TestManyEndpoints(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	list := func(from, to int) string {
		var all []string
		for i := from; i < to; i++ {
			all = append(all, fmt.Sprintf("{ip: 10.0.%d.%d}", i/256, i%256))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	write(t, file, "apiVersion: v1\nkind: Service\nmetadata: {name: cart}\n---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: cart}\n"+
		"subsets:\n- notReadyAddresses: "+list(0, 700)+"\n  ports: [{port: 80}]\n- addresses: "+list(700, 1100)+"\n  ports: [{port: 80}]\n")
	c := open(t, dir)
	var slices discoveryv1.EndpointSliceList
	if err := c.Live().List(t.Context(), &slices); err != nil || len(slices.Items) != 1 {
		t.Fatalf("%d slices, %v", len(slices.Items), err)
	}
	ready := 0
	for _, endpoint := range slices.Items[0].Endpoints {
		if *endpoint.Conditions.Ready {
			ready++
		}
	}
	if all := len(slices.Items[0].Endpoints); all != 1000 || ready != 400 {
		t.Errorf("%d endpoints, %d of them ready, want 1000 and 400", all, ready)
	}
	if got := describeProblems(c); !strings.Contains(got, "it has 1100 addresses of the same ports, and a cluster takes 1000: the last 100 get no requests") {
		t.Errorf("problems are %q", got)
	}
}
