//go:build lab

package lab

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/lab/cgroup"
	"github.com/fairwaynet/fairway/test/tools"
)

func mustFind(t *testing.T, name string) string { return tools.Path(t, name) }

// sight is what of a lab can be seen from outside of it.
type sight struct {
	mounts, links, cgroups, folders, tunables []string
}

// madeByLabs are the control groups that a lab can make: this machine's own
// come and go, too.
var madeByLabs = regexp.MustCompile("fairway|kubepods|containerd|kubelet|runc|cri-")

// others says whether a path is that of a lab that runs beside the test's.
func others(path string) bool {
	running, _ := filepath.Glob(home() + "/*/rack.pid")
	for _, file := range running {
		name := filepath.Base(filepath.Dir(file))
		if _, err := rackOf(name); err != nil {
			continue
		}
		within := strings.Contains(strings.TrimSuffix(path, ".lock")+"/", "/"+string(cgroups)+"/"+name+"/")
		if within || filepath.Base(path) == string(cgroups) {
			return true
		}
	}
	return false
}

// look sees this machine as it is before a lab.
func look(t *testing.T) sight {
	t.Helper()
	seen.forget()
	return see(t)
}

// see is look, with the namespaces that were seen before.
func see(t *testing.T) sight {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var s sight
	for line := range strings.Lines(string(mounts)) {
		s.mounts = append(s.mounts, strings.TrimSpace(line))
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		s.links = append(s.links, link.Name)
	}
	err = filepath.WalkDir(cgroup.Mount, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && madeByLabs.MatchString(path) && !others(path) {
			s.cgroups = append(s.cgroups, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	folders, _ := filepath.Glob(home() + "/*")
	s.folders = slices.DeleteFunc(folders, others)
	for _, path := range []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"} {
		value, _ := os.ReadFile("/proc/sys/" + path)
		s.tunables = append(s.tunables, path+" = "+string(value))
	}
	for _, path := range []string{"/var/lib/kubelet", "/var/lib/containerd", "/etc/cni", "/etc/kubernetes", "/run/containerd", "/opt/lab"} {
		if _, err := os.Stat(path); err == nil {
			s.folders = append(s.folders, path)
		}
	}
	return s
}

// compare demands that the machine is as it was.
func (s sight) compare(t *testing.T) {
	t.Helper()
	now := see(t)
	for _, kind := range []struct {
		name        string
		before, now []string
	}{
		{"mounts", s.mounts, now.mounts},
		{"links", s.links, now.links},
		{"control groups", s.cgroups, now.cgroups},
		{"folders", s.folders, now.folders},
		{"kernel settings", s.tunables, now.tunables},
	} {
		if !slices.Equal(kind.before, kind.now) {
			t.Errorf("%s were\n\t%s\nand are\n\t%s", kind.name, strings.Join(kind.before, "\n\t"), strings.Join(kind.now, "\n\t"))
		}
	}
	for pid, namespace := range inhabited() {
		t.Errorf("process %d is still in %s of the lab", pid, namespace)
	}
	for _, mount := range now.mounts {
		for _, namespace := range seen.all() {
			if strings.Contains(mount, namespace) {
				t.Errorf("%s of the lab is mounted: %s", namespace, mount)
			}
		}
	}
}

// seen are the namespaces that labs were seen to have.
var seen namespaces

type namespaces struct {
	mutex sync.Mutex
	names map[string]bool
	until int64 // when they were seen last: processes that are younger are others', since numbers are used again
}

func (n *namespaces) forget() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.names = map[string]bool{}
}

func (n *namespaces) has(name string) bool {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.names[name]
}

func (n *namespaces) all() []string {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return slices.Collect(maps.Keys(n.names))
}

// remember notes the namespaces of all processes of the lab.
func remember(t *testing.T, l *Lab) {
	t.Helper()
	processes, err := tree(l.Options.Name).Processes()
	if err != nil {
		t.Fatal(err)
	}
	if len(processes) < 5 {
		t.Fatalf("the lab has %d processes", len(processes))
	}
	own := map[string]bool{}
	for _, namespace := range of("self") {
		own[namespace] = true
	}
	seen.mutex.Lock()
	defer seen.mutex.Unlock()
	seen.until = ticks()
	for pid := range processes {
		for _, namespace := range of(fmt.Sprint(pid)) {
			if !own[namespace] {
				seen.names[namespace] = true
			}
		}
	}
}

// of are the namespaces of a process.
func of(pid string) []string {
	var found []string
	for _, kind := range []string{"mnt", "pid", "net", "uts", "ipc"} {
		if name, err := os.Readlink("/proc/" + pid + "/ns/" + kind); err == nil {
			found = append(found, name)
		}
	}
	return found
}

// ticks is the time since the machine started, in hundredths of a second.
func ticks() int64 {
	var seconds float64
	uptime, _ := os.ReadFile("/proc/uptime")
	_, _ = fmt.Sscan(string(uptime), &seconds) // 0 would make the test stricter
	return int64(seconds * 100)
}

// birth is when a process was started, in ticks, and whether it lives: one that has ended still has its
// namespace of pids until its parent, who may be this machine's first process, has asked how.
func birth(pid int) (at int64, lives bool) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, false
	}
	at, _ = strconv.ParseInt(fields[19], 10, 64)
	return at, !strings.ContainsAny(fields[0], "ZX")
}

// inhabited are the lab's namespaces that some process is in, also after a moment in which it may end.
func inhabited() map[int]string {
	const patience = 5 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(patience / 50) { //nolint:forbidigo // it polls
		if found := living(); len(found) == 0 || time.Now().After(deadline) {
			return found
		}
	}
}

func living() map[int]string {
	found := map[int]string{}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		var pid int
		if _, err := fmt.Sscanf(entry, "/proc/%d", &pid); err != nil {
			continue
		}
		for _, namespace := range of(fmt.Sprint(pid)) {
			if began, lives := birth(pid); lives && seen.has(namespace) && began <= seen.until {
				found[pid] = namespace
			}
		}
	}
	return found
}
