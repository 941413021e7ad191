package ipam

import "time"

// Grace is how old a lease must be before it can count as leaked: an ADD that
// still runs is younger.
const Grace = 10 * time.Minute

// Node is what the agent sees of its node, to judge leases by. It comes from one
// moment after the leases were read, so that a lease is never older than what it
// is judged by.
type Node struct {
	Boot   string    // of this kernel, as in Lease
	Booted time.Time // when it started
	Now    time.Time
	// Sandboxes are the container IDs that the runtime knows. Nil means that it
	// could not be asked: then nothing counts as leaked.
	Sandboxes map[string]bool
	// Namespaces are the network namespaces that exist. Only Device and Inode
	// are set. Nil means that nobody could look: then nothing counts as leaked.
	Namespaces map[Namespace]bool
}

// Verdict says whether a lease or a file may be removed, and why.
type Verdict string

// The verdicts. All but Alive and Unknown may be removed.
const (
	Alive     Verdict = "Alive"
	OtherBoot Verdict = "OtherBoot" // no pod survives its kernel
	Leaked    Verdict = "Leaked"    // namespace and sandbox are gone: DEL never came
	CutOff    Verdict = "CutOff"    // a loss of power left a part of a file
	Unknown   Verdict = "Unknown"   // a newer version wrote it, or a stranger: a person should look
)

// Verdict judges a lease.
func (n Node) Verdict(l Lease) Verdict {
	switch {
	case n.Boot != "" && l.Boot != n.Boot:
		return OtherBoot
	case n.Sandboxes == nil || n.Namespaces == nil:
		return Alive
	case n.Sandboxes[l.Container]:
		return Alive
	case n.Namespaces[Namespace{Device: l.Namespace.Device, Inode: l.Namespace.Inode}]:
		return Alive
	case n.Now.Sub(l.Created) < Grace: // also if the clock was set back
		return Alive
	}
	return Leaked
}

// VerdictUnreadable judges a file whose record cannot be read. A process that is
// killed cannot leave one, so one of this boot is somebody else's.
func (n Node) VerdictUnreadable(u Unreadable) Verdict {
	if u.Newer() || n.Booted.IsZero() || !u.Modified.Before(n.Booted) {
		return Unknown
	}
	return CutOff
}
