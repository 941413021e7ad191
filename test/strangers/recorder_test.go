package strangers_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
)

const (
	// maxRecorded is what a recorder keeps of a body, in bytes.
	maxRecorded = 64 << 10
	// bigResponse is what /big answers with, in bytes.
	bigResponse = 64 << 20
)

// recorder is a backend on a bare socket. It answers every request with its
// name, and keeps all of them.
type recorder struct {
	name   string
	listen net.Listener

	mu     sync.Mutex
	seen   []*received
	count  int
	faults []string // what came in that is no request
	open   map[net.Conn]bool
}

func newRecorder(t *testing.T, name string) *recorder {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{name: name, listen: listen, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			r.note(func() { r.open[conn] = true })
			running.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listen.Close()
		r.note(func() {
			for conn := range r.open {
				conn.Close()
			}
		})
		running.Wait()
	})
	return r
}

func (r *recorder) address() string { return r.listen.Addr().String() }

func (r *recorder) note(what func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
}

// serve answers the requests of one connection.
func (r *recorder) serve(conn net.Conn) {
	defer r.note(func() {
		delete(r.open, conn)
		conn.Close()
	})
	from := bufio.NewReader(conn)
	for {
		request, err := readStrictly(from)
		if ended(err) {
			return
		}
		if err != nil {
			r.note(func() { r.faults = append(r.faults, err.Error()) })
			return
		}
		request.Backend = r.name
		r.note(func() {
			if r.count++; len(r.seen) < 10_000 {
				r.seen = append(r.seen, request)
			}
		})
		if err := r.answer(conn, request); err != nil {
			return
		}
	}
}

// ended says whether the gateway ended the connection, be it within a request:
// what a client breaks off ends so.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

func (r *recorder) answer(to io.Writer, request *received) error {
	if request.Target == "/big" {
		if _, err := fmt.Fprintf(to, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", bigResponse); err != nil {
			return err
		}
		_, err := io.CopyN(to, zeros{}, bigResponse)
		return err
	}
	body := r.name
	if request.Method == http.MethodHead {
		body = ""
	}
	_, err := fmt.Fprintf(to, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nBackend: %s\r\n\r\n%s", len(r.name), r.name, body)
	return err
}

// requests are those that came so far, at most 10,000.
func (r *recorder) requests() []*received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*received(nil), r.seen...)
}

// total is how many there were.
func (r *recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
