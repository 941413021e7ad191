package plugin

import (
	"errors"

	"github.com/containernetworking/cni/pkg/types"
)

// failure is an error of the specification: a code, what went wrong, and what to do.
func failure(code uint, message, details string) error {
	return types.NewError(code, "fairway-cni: "+message, details)
}

// because makes an error one of the specification, unless it is one.
func because(err error, code uint, details string) error {
	if err == nil || errors.As(err, new(*types.Error)) {
		return err
	}
	return failure(code, err.Error(), details)
}

const (
	seeAgent = "look at the node's agent: kubectl logs --selector app.kubernetes.io/component=node --field-selector spec.nodeName=THIS-NODE, or fairway status"
	tryAgain = "the runtime tries again by itself"
)
