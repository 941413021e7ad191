package install_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/fairwaynet/fairway/cni/install"
)

func folders(t *testing.T) install.Folders {
	t.Helper()
	dir := t.TempDir()
	return install.Folders{
		Programs: filepath.Join(dir, "bin"), Networks: filepath.Join(dir, "net.d"), State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"),
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func network(t *testing.T, f install.Folders, want bool) {
	t.Helper()
	if written, err := f.Network(); err != nil || written != want {
		t.Fatalf("written: %t, %v, want %t", written, err, want)
	}
}

// A runtime can read what is written, and it is written once.
func TestNetwork(t *testing.T) {
	f := folders(t)
	network(t, f, true)
	network(t, f, false)
	path := filepath.Join(f.Networks, "05-fairway.conflist")
	list, err := libcni.NetworkConfFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != "fairway" || list.CNIVersion != "1.1.0" || len(list.Plugins) != 1 || list.Plugins[0].Network.Type != "fairway-cni" {
		t.Errorf("%+v", list)
	}
	for _, capability := range []string{"portMappings", "bandwidth", "ips"} {
		if !list.Plugins[0].Network.Capabilities[capability] {
			t.Errorf("it has no capability %s", capability)
		}
	}
	if files, err := os.ReadDir(f.Networks); err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}

	// What differs from ours, or cannot be read, is written again.
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"", "{", `{"name": "other"}`, strings.Replace(string(content), f.State, "/elsewhere", 1)} {
		write(t, path, damaged)
		network(t, f, true)
		if is, err := os.ReadFile(path); err != nil || string(is) != string(content) {
			t.Errorf("after %q: %s, %v", damaged, is, err)
		}
	}
}

// Plugins that somebody has added stay, also when ours must be written again.
func TestAddedPluginsStay(t *testing.T) {
	f := folders(t)
	network(t, f, true)
	path := filepath.Join(f.Networks, "05-fairway.conflist")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]any
	if err := json.Unmarshal(content, &list); err != nil {
		t.Fatal(err)
	}
	list["plugins"] = append(list["plugins"].([]any), map[string]any{"type": "istio-cni", "log_level": "info"})
	with, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(with))
	network(t, f, false)
	if is, err := os.ReadFile(path); err != nil || string(is) != string(with) {
		t.Errorf("a list with a further plugin became %s, %v", is, err)
	}
	f.Run = "/elsewhere"
	network(t, f, true)
	is, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(is), "/elsewhere") || !strings.Contains(string(is), `"istio-cni"`) || !strings.Contains(string(is), `"log_level": "info"`) {
		t.Errorf("a list with a further plugin became %s, %v", is, err)
	}
}

func TestPlugin(t *testing.T) {
	f := folders(t)
	from := filepath.Join(t.TempDir(), "plugin")
	for _, version := range []string{"one", "one", "two"} {
		write(t, from, version)
		if err := f.Plugin(from); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(f.Programs, "fairway-cni"))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", info, err)
		}
		if is, err := os.ReadFile(filepath.Join(f.Programs, "fairway-cni")); err != nil || string(is) != version {
			t.Errorf("%s, %v, want %s", is, err, version)
		}
	}
	if err := f.Plugin(from + "-missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a program: %v", err)
	}
}

func TestRivalsAndUninstall(t *testing.T) {
	f := folders(t)
	if rivals, err := f.Rivals(); err != nil || len(rivals) > 0 {
		t.Errorf("without a folder: %v, %v", rivals, err)
	}
	network(t, f, true)
	for _, name := range []string{"00-multus.conf", "01.json", "10-flannel.conflist", "00-readme.txt", ".02-hidden.conf"} {
		write(t, filepath.Join(f.Networks, name), name)
	}
	rivals, err := f.Rivals()
	if got := strings.Join(rivals, " "); err != nil || got != "00-multus.conf 01.json" {
		t.Errorf("rivals %q, %v", got, err)
	}
	if err := errors.Join(f.MoveAside(rivals), f.MoveAside(rivals)); err != nil {
		t.Error(err)
	}
	if rivals, err := f.Rivals(); err != nil || len(rivals) > 0 {
		t.Errorf("after they were moved: %v, %v", rivals, err)
	}
	if err := errors.Join(f.Uninstall(), f.Uninstall()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"00-multus.conf", "01.json", "10-flannel.conflist"} {
		if is, err := os.ReadFile(filepath.Join(f.Networks, name)); err != nil || string(is) != name {
			t.Errorf("%s is %q, %v", name, is, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(f.Networks, "*fairway*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}
