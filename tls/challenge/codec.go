package challenge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// The parts of an order's Secret that the replicas read which answer challenges. The
// leader writes type, label and this key. Every replica reads this key and no other.
const (
	// SecretType is the type of the Secrets of orders.
	SecretType = "fairway.dev/acme-order"
	// SecretLabel is on each of them, with the value "true".
	SecretLabel = "fairway.dev/acme-order"
	// SecretKey is the key of the data that Encode makes.
	SecretKey = "challenges.json"
)

// Encode writes challenges as an order's Secret carries them: a JSON list, sorted,
// each once. Equal sets give equal bytes. An invalid challenge is an error.
func Encode(challenges []Challenge) ([]byte, error) {
	sorted := slices.Clone(challenges)
	slices.SortFunc(sorted, Compare)
	sorted = slices.Compact(sorted)
	if len(sorted) > MaxChallenges {
		return nil, errTooMany
	}
	for _, c := range sorted {
		if err := c.Validate(); err != nil {
			return nil, err
		}
	}
	if sorted == nil {
		sorted = []Challenge{}
	}
	return json.Marshal(sorted)
}

// Decode reads a text of Encode; an empty text holds no challenges. An invalid
// challenge is an error, and then none of them must be answered.
func Decode(text []byte) ([]Challenge, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var challenges []Challenge
	if err := json.Unmarshal(text, &challenges); err != nil {
		return nil, fmt.Errorf("read challenges: %w", err)
	}
	if len(challenges) > MaxChallenges {
		return nil, fmt.Errorf("read challenges: %w", errTooMany)
	}
	for _, c := range challenges {
		if err := c.Validate(); err != nil {
			return nil, fmt.Errorf("read challenges: %w", err)
		}
	}
	return challenges, nil
}

// Compare orders challenges.
func Compare(a, b Challenge) int {
	return cmp.Or(
		cmp.Compare(a.Gateway, b.Gateway), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type),
		cmp.Compare(a.Token, b.Token), cmp.Compare(a.KeyAuthorization, b.KeyAuthorization),
	)
}
