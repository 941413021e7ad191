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
	// atOnce is how many cases run at the same time. Most of them wait.
	atOnce = 128
	// quiet is how long nothing may come of a connection until it counts as
	// one that waits for more.
	quiet = 400 * time.Millisecond
	// varies is in the section "backend" of a file if what a backend sees depends
	// on the moment. The invariants hold all the same.
	varies = "varies\n"
)

// corpusFile is one file of testdata: what is sent, and what becomes of it in
// each way in which it is sent.
type corpusFile struct {
	path    string
	archive *txtar.Archive
	send    func(t *testing.T, c *corpusCase) string
	sends   string
	wants   map[string]outcome // by way; "" is that of all that have none
	got     map[string]outcome
}

// corpusCase is a file sent in one way.
type corpusCase struct {
	*corpusFile
	way    way
	client string // the address that it is sent from: what tells its requests apart
	sends  string
	got    outcome
}

// outcome is what became of what was sent.
type outcome struct {
	Answers string // a line each: what the client got
	Backend string // a line each: what backends got
}

// TestCorpus sends every file in every way, and compares what is answered and
// what backends see. Run it with -update after adding one, and read what it wrote.
func TestCorpus(t *testing.T) {
	files := append(readCorpus(t, "http1", sendHTTP1), readCorpus(t, "http2", sendHTTP2)...)
	for _, c := range []struct {
		name string
		ways []way
		site func(*testing.T) *site
	}{
		{"named", named, newWholeSite},
		{"default", unnamed, newDefaultSite},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.site(t)
			cases := casesOf(files, c.ways)
			n := s.newNeighbour()
			var running sync.WaitGroup
			turn := make(chan struct{}, atOnce)
			for _, one := range cases {
				running.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					one.got.Answers = one.send(t, one)
				})
			}
			running.Wait()
			n.undisturbed()
			s.judge(cases)
		})
	}
	if *update {
		for _, f := range files {
			f.write(t)
		}
	}
}

func readCorpus(t *testing.T, folder string, send func(*testing.T, *corpusCase) string) []*corpusFile {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	files := make([]*corpusFile, 0, len(paths))
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := &corpusFile{path: path, archive: archive, send: send, wants: map[string]outcome{}, got: map[string]outcome{}}
		for _, file := range archive.Files {
			kind, way, _ := strings.Cut(file.Name, " ")
			if way != "" && !isWay(way) {
				t.Errorf("%s: unknown way %q", path, way)
			}
			wants, ok := f.wants[way]
			if !ok {
				wants = f.wants[""] // which comes first
			}
			switch text := string(file.Data); kind {
			case "sends":
				f.sends = text
			case "answers":
				wants.Answers = text
			case "backend":
				wants.Backend = text
			default:
				t.Errorf("%s: unknown section %q", path, file.Name)
			}
			f.wants[way] = wants
		}
		if f.sends == "" || len(strings.TrimSpace(string(archive.Comment))) == 0 {
			t.Errorf("%s: wants a sentence and what is sent", path)
		}
		files = append(files, f)
	}
	return files
}

// want is what shall become of it.
func (c *corpusCase) want() outcome {
	if want, ok := c.wants[c.way.name]; ok {
		return want
	}
	return c.wants[""]
}

// judge compares each case with its file, and holds all that backends got
// against what is never allowed.
func (s *site) judge(cases []*corpusCase) {
	s.Helper()
	byClient := make(map[string]*corpusCase, len(cases))
	for _, c := range cases {
		byClient[c.client] = c
	}
	for _, r := range append(s.public.requests(), s.admin.requests()...) {
		var c *corpusCase
		if ip := r.values("x-real-ip"); len(ip) == 1 {
			c = byClient[ip[0]]
		}
		if broken := r.broken(c); broken != "" {
			s.Errorf("a backend got what it must not: %s: %s", broken, r)
		}
		if c != nil {
			c.got.Backend += c.plainly(r).String() + "\n"
		}
	}
	for _, c := range cases {
		want := c.want()
		if want.Backend == varies {
			c.got.Backend = varies
		}
		c.corpusFile.got[c.way.name] = c.got
		if diff := cmp.Diff(want, c.got); diff != "" && !*update {
			s.Errorf("%s %s: %s(-want +got)\n%s", c.path, c.way.name, c.archive.Comment, diff)
		}
	}
	for _, backend := range []*recorder{s.public, s.admin} {
		for _, fault := range backend.faults {
			s.Errorf("backend %s got what is no request: %s", backend.name, fault)
		}
	}
}

// write writes what was got: of the ways that differ from the first, too.
func (f *corpusFile) write(t *testing.T) {
	t.Helper()
	first := f.got[""]
	f.archive.Files = []txtar.File{
		{Name: "sends", Data: []byte(f.sends)},
		{Name: "answers", Data: []byte(first.Answers)},
		{Name: "backend", Data: []byte(first.Backend)},
	}
	for _, way := range allWays() {
		got, sent := f.got[way.name]
		if sent && got.Answers != first.Answers {
			f.archive.Files = append(f.archive.Files, txtar.File{Name: "answers " + way.name, Data: []byte(got.Answers)})
		}
		if sent && got.Backend != first.Backend {
			f.archive.Files = append(f.archive.Files, txtar.File{Name: "backend " + way.name, Data: []byte(got.Backend)})
		}
	}
	if err := os.WriteFile(f.path, txtar.Format(f.archive), 0o644); err != nil {
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
func sendHTTP1(t *testing.T, c *corpusCase) string {
	t.Helper()
	conn, err := c.connect()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	raw, want := wire(c.sends), c.want().Answers
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
		answers += c.way.plainAnswer(describe(response))
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
