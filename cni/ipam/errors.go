package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// What Take returns, beside the types below.
var (
	// ErrExists says that the key has a lease, whole or of an ADD that was
	// killed. The runtime calls DEL before it calls ADD again.
	ErrExists = errors.New("it has a lease already, which DEL gives back")
	// ErrGiven says that Give removed the lease while Take made it: DEL came
	// while ADD ran.
	ErrGiven = errors.New("the lease was given back meanwhile")
)

// ExhaustedError says that no range of a family has a free address.
type ExhaustedError struct{ Ranges []Usage }

func (e *ExhaustedError) Error() string {
	var full []string
	for _, u := range e.Ranges {
		full = append(full, fmt.Sprintf("%s (%d of %d are taken)", u.Range, u.Used, u.Size))
	}
	return "no address is free in " + strings.Join(full, ", ")
}

// TakenError says that a requested address is another pod's.
type TakenError struct {
	Address netip.Addr
	By      Lease // zero if the file cannot be read
}

func (e *TakenError) Error() string {
	if e.By.Container == "" {
		return fmt.Sprintf("address %s is taken by a file that cannot be read", e.Address)
	}
	return fmt.Sprintf("address %s is taken by pod %s (container %s, interface %s)",
		e.Address, e.By.Pod, e.By.Container, e.By.Interface)
}

// OutsideError says that pods of this node cannot have a requested address.
type OutsideError struct {
	Address netip.Addr
	Ranges  Ranges
}

func (e *OutsideError) Error() string {
	var ranges []string
	for _, p := range e.Ranges {
		if p.Addr() == e.Address {
			return fmt.Sprintf("address %s is the node's, the network address of %s", e.Address, p)
		}
		ranges = append(ranges, p.String())
	}
	return fmt.Sprintf("address %s is outside of %s", e.Address, strings.Join(ranges, ", "))
}

// StorageError says that the folder takes no change until a person acts: it has
// no space (blocks, inodes or quota), or is read-only.
type StorageError struct {
	Dir string
	Err error // what the kernel says
}

func (e *StorageError) Error() string {
	if errors.Is(e.Err, syscall.EROFS) {
		return fmt.Sprintf("%s is read-only: %v", e.Dir, e.Err)
	}
	return fmt.Sprintf("no space in %s: %v", e.Dir, e.Err)
}

// Unwrap is the error of the kernel.
func (e *StorageError) Unwrap() error { return e.Err }

// storage makes errors of a full or read-only disk a StorageError.
func storage(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
		return &StorageError{Dir: dir, Err: err}
	}
	return err
}
