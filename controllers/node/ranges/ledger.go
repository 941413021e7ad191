package ranges

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"k8s.io/apimachinery/pkg/types"
)

// Ledger is what leaders hand on to one another.
type Ledger struct {
	// Last are the ranges that were promised last, one of each family.
	Last []netip.Prefix `json:"last,omitempty"`
	// Promises are by the name of the Node.
	Promises map[string]Promise `json:"promises,omitempty"`
}

// Promise is that a Node gets ranges. A request that writes them may be under way.
type Promise struct {
	UID    types.UID      `json:"uid"`
	Ranges []netip.Prefix `json:"ranges"`
}

// maxPromises bounds the ledger: 500 names of 253 bytes with two ranges are 200 KB, and the
// annotations of an object may have 256 KiB.
const maxPromises = 500

// errMoved says that somebody has written the ledger since it was read.
var errMoved = errors.New("another leader has written the ledger of ranges")

// text is the ledger in an annotation.
func (l Ledger) text() (string, error) {
	encoded, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("write the ledger of ranges: %w", err)
	}
	return string(encoded), nil
}

// readLedger reads a ledger. An empty text is an empty one.
func readLedger(text string) (Ledger, error) {
	var l Ledger
	if text == "" {
		return l, nil
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return Ledger{}, fmt.Errorf("read the ledger of ranges: %w", err)
	}
	return l, nil
}

// open are the promises that are not kept yet. A Node that has a range keeps it, and one
// that is gone never comes back with its UID: a late request changes neither.
func (l Ledger) open(nodes []Node) map[string]Promise {
	open := maps.Clone(l.Promises)
	waits := map[string]types.UID{}
	for _, node := range nodes {
		if !node.Served {
			waits[node.Name] = node.UID
		}
	}
	maps.DeleteFunc(open, func(name string, p Promise) bool { return waits[name] != p.UID })
	return open
}
