package acme

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Backoff is how long to wait after so many attempts in a row have failed: 1
// minute, 10 minutes, 100 minutes, then 1 day. That stays within the limits of
// authorities that count failed validations, as Let's Encrypt does (5 an hour for a
// name).
func Backoff(failures int) time.Duration {
	return pick(failures, time.Minute, 10*time.Minute, 100*time.Minute, 24*time.Hour)
}

// patience is how long to wait after so many steps in a row have failed that
// can be done again: the network, or an authority that is out of order.
func patience(stumbles int) time.Duration {
	return pick(stumbles, 5*time.Second, 15*time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour)
}

// Patience is how long to leave an authority alone that did not answer so many times
// in a row: 5 s at first, 5 minutes at most, and up to a tenth longer by the seed.
func Patience(failures int, seed string) time.Duration {
	return spread(min(patience(failures), 5*time.Minute), seed)
}

// pick is the nth of them, from 1, or the last.
func pick(n int, of ...time.Duration) time.Duration {
	return of[min(max(n, 1), len(of))-1]
}

// spread makes a duration up to a tenth longer, by the seed: orders that failed
// together are not tried again together, and the same seed gives the same answer.
func spread(d time.Duration, seed string) time.Duration {
	return d + time.Duration(float64(d)/10*fraction(seed))
}

// fraction is a number from 0 to 1 that depends on the seed alone.
func fraction(seed string) float64 {
	digest := sha256.Sum256([]byte(seed))
	return float64(binary.BigEndian.Uint64(digest[:8])>>11) / (1 << 53)
}
