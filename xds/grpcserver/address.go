package grpcserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
)

// UnixScheme is the prefix of a Unix socket's address.
const UnixScheme = "unix:"

// IsLocal reports whether only this machine can reach an address, which is host:port or
// unix:path. Any other text is an error.
func IsLocal(address string) (bool, error) {
	if path, ok := strings.CutPrefix(address, UnixScheme); ok {
		if path == "" {
			return false, errors.New("unix: needs the path of a socket")
		}
		return true, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%q is neither host:port nor unix:path", address)
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback(), nil
}

// Listen binds an address, which is host:port or unix:path. It replaces the socket of a
// process that has ended. Only the current user can use the new socket.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, UnixScheme)
	if !isUnix {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("serve xDS: %w", err)
		}
		return listener, nil
	}
	if err := removeSocket(path); err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("serve xDS: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("serve xDS: %w", err), listener.Close())
	}
	return listener, nil
}

func removeSocket(path string) error {
	switch file, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case file.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	return os.Remove(path)
}
