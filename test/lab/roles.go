package lab

import (
	"context"
	"fmt"
	"os"

	"github.com/fairwaynet/fairway/test/lab/machine"
	"github.com/fairwaynet/fairway/test/lab/rack"
)

// rackRole is the argument with which Up starts this program as the rack.
const rackRole = "fairway-lab:rack"

// Main runs the process's role, and then does not return, if a lab has started
// this program as one of its own processes. A caller of Start or Up must call
// Main first, in TestMain or in main.
func Main() {
	ctx := context.Background()
	var err error
	switch os.Args[0] {
	case rackRole:
		err = rack.Run(ctx, os.Args[1])
	case rack.MachineRole:
		err = machine.Boot(ctx, os.Args[1])
	case referenceRole:
		err = runReference(ctx)
	default:
		return
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1) //nolint:forbidigo // this is a process of the lab, not the caller
}
