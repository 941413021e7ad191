package arrows

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/fairwaynet/fairway"

func TestArrows(t *testing.T) {
	found, err := files(os.DirFS("../.."), module)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found only %d files: is this the root of the module?", len(found))
	}
	for _, f := range found {
		for _, wrong := range check(f) {
			t.Error(wrong)
		}
	}
}

// The plugin must be free of client-go also by way of what it imports.
func TestThePluginLinksNoClient(t *testing.T) {
	const plugin = "../../cmd/fairway-cni"
	if sources, _ := filepath.Glob(plugin + "/*.go"); len(sources) == 0 {
		return // there is no plugin yet
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", plugin).Output()
	if err != nil {
		t.Fatalf("list what the plugin links: %v", err)
	}
	for linked := range strings.Lines(string(list)) {
		if covers([]string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}, strings.TrimSpace(linked)) {
			t.Errorf("cmd/fairway-cni links %s\t%s", linked, smallPlugin)
		}
	}
}

// Each case is one file; want is the import or the name that is found wrong,
// empty when all is well.
func TestCheck(t *testing.T) {
	for _, test := range []struct{ name, path, source, want string }{
		{"controllers may import a subsystem", "controllers/edge/ingress/a.go", ours("xds/route"), ""},
		{"a subsystem may import api", "xds/route/a.go", ours("api/problem"), ""},
		{"subsystems stay apart", "xds/route/a.go", ours("tls/certificate"), "tls/certificate"},
		{"also in tests", "cni/ipam/a_test.go", ours("proxy/nft"), "proxy/nft"},
		{"a subsystem does not know its driver", "xds/server/a.go", ours("controllers/edge/ingress"), "controllers/edge/ingress"},
		{"the edge uses what finds objects", "controllers/edge/ingress/a.go", ours("controllers/objects/index"), ""},
		{"what finds objects does not know the edge", "controllers/objects/index/a.go", ours("controllers/edge/ingress"), "controllers/edge/ingress"},
		{"certificates do not know the edge", "controllers/certificates/order/a.go", ours("controllers/edge/ingress"), "controllers/edge/ingress"},
		{"the assembly knows no kind", "controllers/assembly/a.go", ours("controllers/edge/ingress"), "controllers/edge/ingress"},
		{"two processes", "controllers/node/service/a.go", ours("controllers/edge"), "controllers/edge"},
		{"a process is any process", "cmd/internal/health/a.go", ours("xds/server"), "xds/server"},
		{"api brings no logic", "api/v1alpha1/a.go", ours("xds/route"), "xds/route"},
		{"the server imports the renderer", "xds/server/a.go", ours("xds/envoy"), ""},
		{"the model does not", "xds/route/a.go", ours("xds/envoy"), "xds/envoy"},
		{"a test may import test", "xds/route/a_test.go", ours("test/golden"), ""},
		{"what ships may not", "xds/route/a.go", ours("test/golden"), "test/golden"},
		{"test imports test", "test/cluster/a.go", ours("test/tools"), ""},
		{"Build has no clock to wait on", "xds/route/a.go", imports("context"), "context"},
		{"nor I/O", "xds/envoy/a.go", imports("os/exec"), "os/exec"},
		{"its tests do", "xds/envoy/a_test.go", imports("os/exec"), ""},
		{"one user of netlink", "cni/mesh/a.go", imports("github.com/vishvananda/netlink"), "github.com/vishvananda/netlink"},
		{"it may", "cni/link/a.go", imports("github.com/vishvananda/netlink"), ""},
		{"a program does not know how it is packed", "cmd/fairway/a.go", ours("images/oci"), "images/oci"},
		{"the lab packs as a release does", "test/lab/a.go", ours("images/oci"), ""},
		{"the lab has a registry", "test/lab/cmd/registry/a.go", imports("github.com/google/go-containerregistry/pkg/registry"), ""},
		{"all else of the lab asks images/oci", "test/lab/a.go", imports("github.com/google/go-containerregistry/pkg/v1"), "github.com/google/go-containerregistry"},
		{"the packer links no program", "images/a.go", ours("xds/route"), "xds/route"},
		{"a prefix is not a path", "xds/route/a.go", imports("oslo"), ""},
		{"a name that says nothing", "xds/util/a.go", "package util", "util"},
		{"anywhere in the path", "common/route/a.go", "package route", "common"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := files(fstest.MapFS{test.path: {Data: []byte(test.source)}}, module)
			if err != nil || len(found) != 1 {
				t.Fatalf("files = %v, %v, want one", found, err)
			}
			wrong := strings.Join(check(found[0]), "\n")
			if (wrong == "") != (test.want == "") || !strings.Contains(wrong, test.want) {
				t.Errorf("check = %q, want %q in it", wrong, test.want)
			}
		})
	}
}

func TestFilesLeavesOutWhatGoBuildDoes(t *testing.T) {
	source := &fstest.MapFile{Data: []byte("package a")}
	found, err := files(fstest.MapFS{
		"go.mod": {}, "a/a.go": source, "a/testdata/b.go": source, ".tools/c.go": source,
		"test/tools/etcd/go.mod": {}, "test/tools/etcd/d.go": source,
	}, module)
	if err != nil || len(found) != 1 || found[0].path != "a/a.go" {
		t.Errorf("files = %v, %v, want a/a.go alone", found, err)
	}
}

func ours(path string) string    { return imports(module + "/" + path) }
func imports(path string) string { return "package a\nimport _ \"" + path + "\"\n" }
