package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
)

// The file descriptors that a first process inherits.
const (
	goFile      = 3 // receives a byte when the process is in its cgroup and has its links
	forwardFile = 4 // the API's listener, for the machine with Forward
)

// Boot is the first process of the machine whose folder is dir. It runs in new
// namespaces and returns only if the machine cannot start.
func Boot(ctx context.Context, dir string) error {
	if err := awaitGo(); err != nil {
		return err
	}
	spec, err := Load(dir)
	if err != nil {
		return err
	}
	if err := spec.mount(); err != nil {
		return fmt.Errorf("mount the file systems: %w", err)
	}
	if err := spec.connect(); err != nil {
		return fmt.Errorf("set up the network: %w", err)
	}
	log, err := os.OpenFile("/var/log/init.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	logger := slog.New(slog.NewTextHandler(log, nil)).With("machine", spec.Name)
	logger.Info("booted", "programs", len(spec.Programs))
	if spec.Forward != "" {
		if err := forward(ctx, os.NewFile(forwardFile, "api"), spec.Forward); err != nil {
			return err
		}
	}
	children := newReaper()
	go children.run()
	runner := &runner{log: logger, children: children}
	runner.run(ctx, spec.Programs)
	select {} // SIGKILL switches the machine off
}

// awaitGo returns when the rack allows the machine to begin. If the rack has
// died, the machine dies, too.
func awaitGo() error {
	file := os.NewFile(goFile, "go")
	_, err := io.ReadFull(file, make([]byte, 1))
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("wait for links: %w", err)
	}
	return nil
}

// forward passes every connection of the listener on to an address of this
// machine's network. The listener is in the real machine's network.
func forward(ctx context.Context, file *os.File, to string) error {
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("take over the API's listener: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("take over the API's listener: %w", err)
	}
	go func() {
		for {
			from, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go pass(ctx, from, to)
			}
		}
	}()
	return nil
}

// pass copies in both directions until both have ended.
func pass(ctx context.Context, from net.Conn, to string) {
	defer func() { _ = from.Close() }() // both ends have been closed already
	target, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return // no server is there yet: the caller sees its connection close
	}
	defer func() { _ = target.Close() }()
	back := make(chan struct{})
	go func() {
		defer close(back)
		copyHalf(from, target)
	}()
	copyHalf(target, from)
	<-back
}

// copyHalf copies one direction and then closes it.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(*net.TCPConn)
	if err != nil || !ok || half.CloseWrite() != nil {
		_, _ = to.Close(), from.Close() // no one is left to tell
	}
}

// logPath is the path of a program's log on the machine.
func logPath(program string) string { return filepath.Join("/var/log", program+".log") }
