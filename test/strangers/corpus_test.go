package strangers_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what was answered and seen into testdata")

const (
	// atOnce is how many cases run at the same time.
	atOnce = 16
	// quiet is how long nothing may come of a connection until it counts as
	// one that waits for more.
	quiet = 400 * time.Millisecond
	// varies is in the section "backend" of a file if what a backend sees depends
	// on the moment. The invariants hold all the same.
	varies = "varies\n"
)

// corpusCase is one file of testdata.
type corpusCase struct {
	path    string
	archive *txtar.Archive
	client  string // the address that it is sent from: what tells its requests apart
	sends   string
	wants   outcome
	got     outcome
}

// outcome is what became of what was sent.
type outcome struct {
	Answers string // a line each: what the client got
	Backend string // a line each: what backends got
}

// TestCorpus sends every file and compares what is answered and what backends
// see. Run it with -update after adding one, and read what it wrote.
func TestCorpus(t *testing.T) {
	for _, c := range []struct {
		folder string
		send   func(t *testing.T, client, sends, want string) string
	}{
		{"http1", sendHTTP1},
		{"http2", sendHTTP2},
	} {
		t.Run(c.folder, func(t *testing.T) {
			s := newSite(t, options{})
			cases := readCorpus(t, c.folder)
			n := s.newNeighbour()
			var running sync.WaitGroup
			turn := make(chan struct{}, atOnce)
			for _, one := range cases {
				running.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					one.got.Answers = c.send(t, one.client, one.sends, one.wants.Answers)
				})
			}
			running.Wait()
			n.undisturbed()
			s.judge(cases)
		})
	}
}

func readCorpus(t *testing.T, folder string) []*corpusCase {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	cases := make([]*corpusCase, 0, len(paths))
	for i, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := &corpusCase{path: path, archive: archive, client: fmt.Sprintf("127.1.%d.%d", i/200, i%200+1)}
		for _, file := range archive.Files {
			switch text := string(file.Data); file.Name {
			case "sends":
				c.sends = text
			case "answers":
				c.wants.Answers = text
			case "backend":
				c.wants.Backend = text
			default:
				t.Errorf("%s: unknown section %q", path, file.Name)
			}
		}
		if c.sends == "" || len(strings.TrimSpace(string(archive.Comment))) == 0 {
			t.Errorf("%s: wants a sentence and what is sent", path)
		}
		cases = append(cases, c)
	}
	return cases
}

// judge compares each case with its file, and holds all that backends got
// against what is never allowed.
func (s *site) judge(cases []*corpusCase) {
	s.Helper()
	all := append(s.public.requests(), s.admin.requests()...)
	for _, c := range cases {
		for _, r := range all {
			if ip := r.values("x-real-ip"); len(ip) == 1 && ip[0] == c.client {
				c.got.Backend += r.String() + "\n"
			}
		}
		if c.wants.Backend == varies {
			c.got.Backend = varies
		}
		if *update {
			c.write(s.T)
		} else if diff := cmp.Diff(c.wants, c.got); diff != "" {
			s.Errorf("%s: %s(-want +got)\n%s", c.path, c.archive.Comment, diff)
		}
	}
	for _, r := range all {
		if broken := r.broken(cases); broken != "" {
			s.Errorf("a backend got what it must not: %s: %s", broken, r)
		}
	}
	for _, backend := range []*recorder{s.public, s.admin} {
		for _, fault := range backend.faults {
			s.Errorf("backend %s got what is no request: %s", backend.name, fault)
		}
	}
}

func (c *corpusCase) write(t *testing.T) {
	t.Helper()
	c.archive.Files = []txtar.File{
		{Name: "sends", Data: []byte(c.sends)},
		{Name: "answers", Data: []byte(c.got.Answers)},
		{Name: "backend", Data: []byte(c.got.Backend)},
	}
	if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
		t.Error(err)
	}
}

// connect comes from an address of its own.
func connect(client string) (net.Conn, error) { return connectTo(client, address) }

func connectTo(client, to string) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.ParseIP(client)}
	return (&net.Dialer{LocalAddr: from, Timeout: patience}).Dial("tcp", to)
}

// sendHTTP1 sends bytes and tells the answers: a line for each, and what became
// of the connection. What is wanted says only how long to wait.
func sendHTTP1(t *testing.T, client, sends, want string) string {
	t.Helper()
	conn, err := connect(client)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	raw := wire(sends)
	// The gateway may hang up before it has read all of it.
	_, _ = io.WriteString(conn, raw)
	from, answers := bufio.NewReader(conn), ""
	method, _, _ := strings.Cut(raw, " ")
	began := time.Now()
	for {
		// What must come may take its time; that nothing else comes is seen soon.
		wait := quiet
		if strings.HasPrefix(want, answers) && want != answers+"open\n" {
			wait = max(patience-time.Since(began), 0)
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Error(err)
		}
		if _, err := from.Peek(1); err != nil {
			return answers + fate(err) + "\n"
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		response, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			return answers + fate(err) + "\n"
		}
		answers += describe(response)
		if response.Close {
			return answers
		}
	}
}

func describe(response *http.Response) string {
	defer response.Body.Close()
	text := fmt.Sprint(response.StatusCode)
	if response.Close {
		text += ", closes"
	}
	if to := response.Header.Get("Location"); to != "" {
		text += " to " + to
	}
	if response.StatusCode >= 200 && response.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			text += " cut off"
		}
	}
	return text + "\n"
}

func fate(err error) string {
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return "open"
	}
	return "closed"
}
