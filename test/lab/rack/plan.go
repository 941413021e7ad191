// Package rack holds a lab's machines: it makes the fabrics (switches), plugs
// machines into them, and switches machines on and off.
//
// A rack is one process, the first of a PID namespace that contains all machines.
// When it ends, however that happens, the kernel ends every process of the lab.
// With the last process the lab's links, mounts and namespaces disappear. The
// package knows nothing of Kubernetes.
package rack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairwaynet/fairway/test/lab/cgroup"
)

// Plan is the content of the rack.
type Plan struct {
	Dir      string // the lab's folder
	Cgroups  cgroup.Tree
	Fabrics  int
	MTU      int
	Machines []string // names, in the order of their start
}

// The files of a lab's folder.
const (
	planFile   = "plan.json"
	socketFile = "control.sock"
)

// MachineDir is the folder of the machine name.
func MachineDir(dir, name string) string { return filepath.Join(dir, "machines", name) }

// Save writes the plan into its folder.
func (p Plan) Save() error {
	encoded, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, planFile), encoded, 0o600); err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	return nil
}

// LoadPlan reads the plan of the lab whose folder is dir.
func LoadPlan(dir string) (Plan, error) {
	var p Plan
	encoded, err := os.ReadFile(filepath.Join(dir, planFile))
	if err != nil {
		return p, fmt.Errorf("read plan: %w", err)
	}
	if err := json.Unmarshal(encoded, &p); err != nil {
		return p, fmt.Errorf("read plan: %w", err)
	}
	return p, nil
}
