package main

import (
	"runtime"
	"strings"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/cni/link"
)

// raiseTracking gives connection tracking the room that the node needs. It does so once, so an
// operator can lower it later.
func raiseTracking(log logr.Logger) {
	raised, err := link.RaiseTracking(runtime.NumCPU())
	if len(raised) > 0 {
		log.Info("connection tracking has more room", "what", strings.Join(raised, "; "))
	}
	if err != nil {
		log.V(1).Info("connection tracking stays as it is", "reason", err.Error())
	}
}

// raiseNeighbours gives the neighbour tables room for the machines of a large cluster, once.
func raiseNeighbours(log logr.Logger) {
	raised, err := link.RaiseNeighbours()
	if len(raised) > 0 {
		log.Info("the neighbour tables have more room", "what", strings.Join(raised, "; "))
	}
	if err != nil {
		log.Info("the neighbour tables stay as they are: on a link with more than some 800 machines, raise their gc_thresh3", "reason", err.Error())
	}
}
