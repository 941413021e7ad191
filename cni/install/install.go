package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of what is installed.
const (
	pluginName = "fairway-cni"
	listName   = "05-fairway.conflist"
)

// aside ends the name of a configuration that was moved out of the way.
const aside = ".fairway-moved"

// Folders are those of a node.
type Folders struct {
	Programs   string // of plugins, such as /opt/cni/bin
	Networks   string // of networks' configurations, such as /etc/cni/net.d
	State, Run string // of the plugin
}

// Plugin copies the plugin onto the node in place of another version, whole, unless it is
// there.
func (f Folders) Plugin(from string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("install the plugin: %w", err)
		}
	}()
	to := filepath.Join(f.Programs, pluginName)
	if same(from, to) {
		return os.Chmod(to, 0o755)
	}
	program, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }() // it was only read
	return put(to, program, 0o755)
}

// same reports whether two files are there and equal. It keeps little of them in memory.
func same(a, b string) bool {
	digest := func(path string) (sum [sha256.Size]byte, err error) {
		file, err := os.Open(path)
		if err != nil {
			return sum, err
		}
		defer func() { _ = file.Close() }() // it was only read
		hash := sha256.New()
		_, err = io.Copy(hash, file)
		return [sha256.Size]byte(hash.Sum(nil)), err
	}
	one, errOne := digest(a)
	two, errTwo := digest(b)
	return errOne == nil && errTwo == nil && one == two
}

// Network writes the network configuration unless it is there, and reports whether it had
// to. Plugins that somebody has added to it stay, after ours.
func (f Folders) Network() (written bool, _ error) {
	path := filepath.Join(f.Networks, listName)
	content, err := f.list(path)
	if err == nil {
		written, err = replace(path, content, 0o644)
	}
	if err != nil {
		return false, fmt.Errorf("write the network configuration: %w", err)
	}
	return written, nil
}

// object is one of JSON.
type object = map[string]any

// list is the network configuration. Ranges, MTU and addresses are not in it: they change,
// and the agent's file has them.
func (f Folders) list(path string) ([]byte, error) {
	ours := object{
		"type": pluginName, "stateDir": f.State, "runDir": f.Run,
		"capabilities": object{"portMappings": true, "bandwidth": true, "ips": true},
	}
	list := object{"cniVersion": "1.0.0", "cniVersions": []any{"1.0.0", "1.1.0"}, "name": "fairway", "plugins": append([]any{ours}, added(path)...)}
	is, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var present object
	if json.Unmarshal(is, &present) == nil && reflect.DeepEqual(present, list) {
		return is, nil // however it is written
	}
	content, err := json.MarshalIndent(list, "", "  ")
	return append(content, '\n'), err
}

// added are the plugins in a network configuration that are not ours. What cannot be read
// has none.
func added(path string) []any {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var list struct{ Plugins []object }
	if json.Unmarshal(content, &list) != nil {
		return nil
	}
	var others []any
	for _, plugin := range list.Plugins {
		if kind, ok := plugin["type"].(string); ok && kind != pluginName {
			others = append(others, plugin)
		}
	}
	return others
}

// replace puts a file in place of another, unless its content is there.
func replace(path string, content []byte, mode fs.FileMode) (written bool, err error) {
	if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, content) {
		return false, os.Chmod(path, mode)
	}
	return true, put(path, bytes.NewReader(content), mode)
}

// put puts a file in place of another, whole.
func put(path string, content io.Reader, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync() // a loss of power must not leave a part of it under its name
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// Rivals returns the names of others' network configurations that come before ours: a
// runtime takes the first by name.
func (f Folders) Rivals() ([]string, error) {
	entries, err := os.ReadDir(f.Networks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for other networks: %w", err)
	}
	var rivals []string
	for _, entry := range entries {
		counts := slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(entry.Name()))
		if counts && entry.Name() < listName && !strings.HasPrefix(entry.Name(), ".") {
			rivals = append(rivals, entry.Name())
		}
	}
	return rivals, nil
}

// MoveAside renames rivals, so that no runtime takes them for configurations. Uninstall puts
// them back.
func (f Folders) MoveAside(rivals []string) error {
	var wrong []error
	for _, rival := range rivals {
		path := filepath.Join(f.Networks, rival)
		if err := os.Rename(path, path+aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			wrong = append(wrong, fmt.Errorf("move another network aside: %w", err))
		}
	}
	return errors.Join(wrong...)
}

// Uninstall takes away what was installed, the configuration first, and puts back what was
// moved aside. What is gone is no error.
func (f Folders) Uninstall() error {
	wrong := []error{removed(filepath.Join(f.Networks, listName)), f.moveBack(), removed(filepath.Join(f.Programs, pluginName))}
	return errors.Join(wrong...)
}

// Forget removes the folders of the plugin, which must be without leases. A folder that is mounted, as those of a
// container are, stays, and is empty.
func (f Folders) Forget() error {
	if err := errors.Join(emptied(f.State), emptied(f.Run)); err != nil {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}

func emptied(folder string) error {
	err := os.RemoveAll(folder)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EROFS) {
		if left, unreadable := os.ReadDir(folder); unreadable == nil && len(left) == 0 {
			return nil
		}
	}
	return err
}

func (f Folders) moveBack() error {
	moved, err := filepath.Glob(filepath.Join(f.Networks, "*"+aside))
	if err != nil {
		return fmt.Errorf("put other networks back: %w", err)
	}
	var wrong []error
	for _, path := range moved {
		if err := os.Rename(path, strings.TrimSuffix(path, aside)); err != nil {
			wrong = append(wrong, fmt.Errorf("put another network back: %w", err))
		}
	}
	return errors.Join(wrong...)
}

func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("uninstall: %w", err)
	}
	return nil
}
