package lab

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Usage is the memory of all processes of one name on one machine.
type Usage struct {
	Name     string
	Count    int
	Resident int64 // bytes
}

// Usage is the memory of the lab's processes by machine, the largest first. The
// rack counts as a machine of that name.
func (l *Lab) Usage() (map[string][]Usage, error) {
	processes, err := tree(l.Options.Name).Processes()
	if err != nil {
		return nil, err
	}
	type key struct{ machine, name string }
	sums := map[key]Usage{}
	for pid, group := range processes {
		machine, _, _ := strings.Cut(group, "/")
		name, resident, err := process(pid)
		if err != nil {
			continue // it has just ended
		}
		if strings.Contains(group, "kubepods") {
			name = "pods"
		}
		sum := sums[key{machine, name}]
		sum.Name, sum.Count, sum.Resident = name, sum.Count+1, sum.Resident+resident
		sums[key{machine, name}] = sum
	}
	found := map[string][]Usage{}
	for k, sum := range sums {
		found[k.machine] = append(found[k.machine], sum)
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b Usage) int {
			return cmp.Or(cmp.Compare(b.Resident, a.Resident), cmp.Compare(a.Name, b.Name))
		})
	}
	return found, nil
}

// process is a process's program and its resident memory.
func process(pid int) (name string, resident int64, err error) {
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", 0, err
	}
	program, _, _ := strings.Cut(string(command), "\x00")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, is := strings.CutPrefix(line, "VmRSS:"); is {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return "", 0, err
			}
			resident = kilobytes << 10
		}
	}
	name = strings.TrimPrefix(filepath.Base(program), "fairway-lab:")
	return name, resident, nil
}
