//go:build unix

package secretstore

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file until it is closed. It does not wait for another process.
func lockFile(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
