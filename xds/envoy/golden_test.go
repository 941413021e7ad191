package envoy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden renders in.yaml of every case and compares the other files.
func TestGolden(t *testing.T) {
	for _, path := range goldenCases(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, in := readCase(t, path)
			want := archive.Files[1:]
			got := render(t, in)
			if *update {
				archive.Files = append(archive.Files[:1:1], got...)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(text(want), text(got)); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}

func text(files []txtar.File) map[string]string {
	out := make(map[string]string)
	for _, f := range files {
		out[f.Name] = string(f.Data)
	}
	return out
}

func goldenCases(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	return paths
}

func readCase(t testing.TB, path string) (*txtar.Archive, input) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) == 0 || archive.Files[0].Name != "in.yaml" || len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Fatalf("%s: wants a sentence, then in.yaml", path)
	}
	var in input
	if err := yaml.UnmarshalStrict(archive.Files[0].Data, &in); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return archive, in
}

// render is the output files of a case: one per kind of resource that it has.
func render(t testing.TB, in input) []txtar.File {
	t.Helper()
	settings := in.settings()
	var routes, scopes, clusters, endpoints, listeners []envoy.Resource
	for _, h := range in.hosts() {
		shard := envoy.ShardOf(h.Key.Host)
		routes = append(routes, envoy.RouteConfiguration(shard, [][]byte{envoy.VirtualHost(h, settings)}))
		scopes = append(scopes, envoy.Scope(h.Key.Host))
	}
	for _, c := range in.clusters() {
		clusters = append(clusters, envoy.Cluster(c, settings))
	}
	for _, b := range in.backends() {
		endpoints = append(endpoints, envoy.Endpoints(b))
	}
	if in.Settings != nil {
		listeners = listenersOf(settings, in.Settings.Listed, in.chains())
	}
	if in.Hosts != nil {
		clusters, listeners = nil, nil // the cases of clusters and listeners show them
	}
	var files []txtar.File
	switch {
	case in.Filters != nil:
		files = append(files, txtar.File{Name: "filters.yaml", Data: filters(t, in.Filters)})
	case len(listeners) > 0:
		files = append(files, txtar.File{Name: "listeners.yaml", Data: abridged(t, listeners, in.Whole)})
	}
	for _, kind := range []struct {
		name      string
		resources []envoy.Resource
	}{
		{"scopes.yaml", scopes},
		{"routes.yaml", routes},
		{"clusters.yaml", clusters},
		{"endpoints.yaml", endpoints},
	} {
		if len(kind.resources) > 0 {
			files = append(files, txtar.File{Name: kind.name, Data: documents(t, kind.resources)})
		}
	}
	return files
}

// listenersOf are the listeners of a case; where it lists names for HTTP/3, that
// one alone.
func listenersOf(s route.Settings, listed []envoy.Listed, chains map[route.Hostname]route.Chain) []envoy.Resource {
	if len(listed) > 0 {
		return []envoy.Resource{envoy.HTTP3Listener(s, listed)}
	}
	return envoy.Listeners(s, chains)
}

// documents are resources as people read them.
func documents(t testing.TB, resources []envoy.Resource) []byte {
	t.Helper()
	var values []any
	for _, r := range resources {
		values = append(values, plain(t, decode(t, r)))
	}
	return documentsOf(t, values)
}

func documentsOf(t testing.TB, values []any) []byte {
	t.Helper()
	var out bytes.Buffer
	for i, value := range values {
		if i > 0 {
			out.WriteString("---\n")
		}
		document, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(document)
	}
	return out.Bytes()
}

// decode is the message of a resource, which must be valid.
func decode(t testing.TB, r envoy.Resource) proto.Message {
	t.Helper()
	message, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
	if err != nil {
		t.Fatalf("%s %q: %v", r.Type, r.Name, err)
	}
	validate(t, r, message)
	return message
}

func validate(t testing.TB, r envoy.Resource, message proto.Message) {
	t.Helper()
	if valid, ok := message.(interface{ ValidateAll() error }); !ok {
		t.Fatalf("%s: no validation", r.Type)
	} else if err := valid.ValidateAll(); err != nil {
		t.Fatalf("%s %q: %v", r.Type, r.Name, err)
	}
}

// TestGoldenOutputIsAcceptedByEnvoy shows all of it to a real Envoy at once.
func TestGoldenOutputIsAcceptedByEnvoy(t *testing.T) {
	v := newValidation(t)
	for _, path := range goldenCases(t) {
		_, in := readCase(t, path)
		v.add(in.settings(), in.hosts(), in.clusters(), in.backends(), in.Settings != nil, in.chains())
	}
	v.run()
}

// settings of a case are the defaults, but for what it says.
func (in input) settings() route.Settings {
	s := route.DefaultSettings()
	s.LocalBackends = in.LocalBackends
	if in.Settings == nil {
		return s
	}
	return in.Settings.apply(s)
}
