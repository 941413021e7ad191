package acme

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// maxNames bounds the names of one certificate; authorities allow 100.
const maxNames = 100

// Want is a certificate that somebody wants, in the one spelling that compares.
// Settings.Want makes one.
type Want struct {
	// Names are the names that it is for: in lower case, sorted, each once. A
	// wildcard is "*." and the rest.
	Names []string `json:"names"`
	// Directory is the authority's.
	Directory string  `json:"directory"`
	Profile   string  `json:"profile,omitempty"`
	KeyType   KeyType `json:"keyType"`
}

// Equal reports whether one certificate serves both.
func (w Want) Equal(other Want) bool {
	return slices.Equal(w.Names, other.Names) &&
		w.Directory == other.Directory && w.Profile == other.Profile && w.KeyType == other.KeyType
}

// NameSet identifies a set of names at an authority, by which authorities count
// certificates. One order at a time is made for each.
type NameSet [sha256.Size]byte

// NameSet is that of the names wanted.
func (w Want) NameSet() NameSet {
	return sha256.Sum256([]byte(w.Directory + "\n" + strings.Join(w.Names, "\n")))
}

// fault is the reason why no order for it can succeed with these challenge types.
func (w Want) fault(allowed []ChallengeType) string {
	switch {
	case len(w.Names) == 0:
		return "there is no name to get a certificate for"
	case len(w.Names) > maxNames:
		return fmt.Sprintf("%d names are more than one certificate can have; %d is the most: "+
			"use several Secrets", len(w.Names), maxNames)
	}
	for _, name := range w.Names {
		if strings.HasPrefix(name, "*.") && !slices.Contains(allowed, DNS01) {
			return fmt.Sprintf("%s: only %s can prove a wildcard, and the issuer does not allow it; "+
				"allow it, or list the names one by one", name, DNS01)
		}
	}
	return ""
}

func normal(names []string) []string {
	out := make([]string, 0, len(names))
	for _, name := range names {
		out = append(out, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
