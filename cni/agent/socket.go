package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socketFile is the socket's name in the folder of what does not survive a boot.
const socketFile = "node.sock"

// maxMessage bounds a message, in bytes.
const maxMessage = 64 << 10

// maxWaiting bounds how many ADDs wait at once.
const maxWaiting = 512

// ErrAway says that no agent listens.
var ErrAway = errors.New("the agent of this node (fairway node) does not answer")

// Request asks that a pod's host ports and policies are in the kernel.
type Request struct {
	Container string `json:"container"`
	Interface string `json:"interface"`
	// UID is the pod's, so that an ADD of a pod that was replaced does not wait for its
	// namesake. It is empty if the runtime does not say.
	UID       string `json:"uid,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
}

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	Done     Outcome = "done"
	Replaced Outcome = "replaced" // the API server has another pod of that name, or none
	Failed   Outcome = "failed"   // and may go better the next time
)

// reply is an outcome, and why if it is not Done.
type reply struct {
	Outcome Outcome `json:"outcome"`
	Why     string  `json:"why,omitempty"`
}

// RefusedError is an outcome other than Done.
type RefusedError struct {
	Outcome Outcome
	Why     string
}

// Error says why the agent has not done what was asked.
func (r *RefusedError) Error() string { return r.Why }

// Ask asks the agent whose socket is in a folder, and waits until it has answered or ctx
// ends. While no agent listens it tries again. The error wraps ErrAway if none did, and is
// a RefusedError if it answered anything but Done.
func Ask(ctx context.Context, dir string, request Request) error {
	const pause = 50 * time.Millisecond
	for {
		err := askOnce(ctx, dir, request)
		if !errors.Is(err, ErrAway) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func askOnce(ctx context.Context, dir string, request Request) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketFile))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer func() { _ = connection.Close() }() // all was said
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := json.NewEncoder(connection).Encode(request); err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	var answer reply
	switch err := json.NewDecoder(io.LimitReader(connection, maxMessage)).Decode(&answer); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &RefusedError{Failed, "the agent of this node (fairway node) has not done it in time"}
	case err != nil: // it ended meanwhile
		return fmt.Errorf("%w: %w", ErrAway, err)
	case answer.Outcome != Done:
		return &RefusedError{answer.Outcome, answer.Why}
	}
	return nil
}

// Listen opens the socket in a folder, in place of one that an earlier agent left. Only
// root can connect.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("listen for the plugin: %w", err)
	}
	path := filepath.Join(dir, socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen for the plugin: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the plugin: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the plugin: %w", err), listener.Close())
	}
	return listener, nil
}

// Serve answers requests until ctx ends, each with the error of do: none is Done. The
// context of do ends when the plugin that asks is gone. Serve closes the listener and
// waits for what it has started.
func Serve(ctx context.Context, listener net.Listener, do func(context.Context, Request) error) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	places := make(chan struct{}, maxWaiting)
	for {
		connection, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ECONNABORTED) {
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond): // for files to be closed
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("accept the plugin: %w", err)
		}
		select {
		case places <- struct{}{}:
		default: // the plugin takes it for an agent that is away, and tries again
			_ = connection.Close()
			continue
		}
		serving.Go(func() {
			defer func() { _ = connection.Close(); <-places }()
			serveOne(ctx, connection, do)
		})
	}
}

func serveOne(ctx context.Context, connection net.Conn, do func(context.Context, Request) error) {
	const patience = 5 * time.Second // to send one line
	_ = connection.SetDeadline(time.Now().Add(patience))
	var request Request
	if err := json.NewDecoder(io.LimitReader(connection, maxMessage)).Decode(&request); err != nil {
		return
	}
	_ = connection.SetDeadline(time.Time{})
	alive, gone := context.WithCancel(ctx)
	defer gone()
	go func() { // the plugin sends nothing more: reading ends when it is gone
		_, _ = connection.Read(make([]byte, 1))
		gone()
	}()
	answer := reply{Outcome: Done}
	if err := do(alive, request); err != nil {
		if ctx.Err() != nil {
			return // the next agent answers
		}
		answer = reply{Failed, err.Error()}
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			answer.Outcome = refused.Outcome
		}
	}
	_ = connection.SetWriteDeadline(time.Now().Add(patience))
	_ = json.NewEncoder(connection).Encode(answer) // a plugin that is gone asks again, or not
}
