package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// loadVariable holds the load that a process is to be: a load is a process of
// its own, so that it neither waits for the benchmark's garbage collector nor
// is charged for its work.
const loadVariable = "FAIRWAY_BENCH_LOAD"

// load is requests for the hosts 0 to Hosts-1, in turn.
type load struct {
	Address     string
	Hosts       int
	Connections int
	// Rate is requests a second, at even distances; 0 is as many as
	// Connections allow, each of which has one request under way.
	Rate     float64
	Duration time.Duration
	// Handshakes has full TLS handshakes in place of requests, each on a
	// connection of its own.
	Handshakes bool
}

// outcome is what became of a load.
type outcome struct {
	Sent, Failed       int
	Failure            string // the first
	Took               time.Duration
	P50, P90, P99, Max time.Duration
}

// generator is a load under way.
type generator struct {
	command *exec.Cmd
	said    bytes.Buffer
}

// start starts the load as a process.
func (l load) start(b *testing.B) *generator {
	b.Helper()
	spec, err := json.Marshal(l)
	if err != nil {
		b.Fatal(err)
	}
	g := &generator{command: exec.Command("/proc/self/exe")}
	g.command.Env = append(os.Environ(), loadVariable+"="+string(spec))
	g.command.Stdout, g.command.Stderr = &g.said, os.Stderr
	if err := g.command.Start(); err != nil {
		b.Fatalf("start load: %v", err)
	}
	if requestsFirst() {
		prefer(b, g.command.Process.Pid)
	}
	return g
}

// wait returns what became of the load, when it has ended.
func (g *generator) wait(b *testing.B) outcome {
	b.Helper()
	if err := g.command.Wait(); err != nil {
		b.Fatalf("load: %v", err)
	}
	var o outcome
	if err := json.Unmarshal(g.said.Bytes(), &o); err != nil {
		b.Fatalf("load: %v", err)
	}
	return o
}

// generate is the main function of a process that is a load.
func generate(spec string) error {
	var l load
	if err := json.Unmarshal([]byte(spec), &l); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(l.run(context.Background()))
}

// run sends the requests.
func (l load) run(ctx context.Context) outcome {
	clients := make([]*connection1, l.Connections)
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(l.Duration))
	defer cancel()
	var running sync.WaitGroup
	for i := range clients {
		clients[i] = &connection1{load: l, number: i}
		running.Go(func() { clients[i].run(ctx, began) })
	}
	running.Wait()
	o := outcome{Took: time.Since(began)}
	var took []time.Duration
	for _, c := range clients {
		took = append(took, c.took...)
		o.Failed += len(c.failures)
		if len(c.failures) > 0 && o.Failure == "" {
			o.Failure = c.failures[0].Error()
		}
	}
	o.Sent = len(took) + o.Failed
	o.P50, o.P90, o.P99, o.Max = quantile(took, 0.5), quantile(took, 0.9), quantile(took, 0.99), quantile(took, 1)
	return o
}

// connection1 speaks HTTP/1.1 on one connection, with as little work as possible.
type connection1 struct {
	load   load
	number int

	connection net.Conn
	answers    *bufio.Reader
	request    []byte
	took       []time.Duration
	failures   []error
}

func (c *connection1) run(ctx context.Context, began time.Time) {
	defer c.close()
	step := time.Duration(0)
	if c.load.Rate > 0 {
		step = time.Duration(float64(time.Second) / c.load.Rate)
	}
	clock := time.NewTimer(0)
	defer clock.Stop()
	<-clock.C
	for i := c.number; ctx.Err() == nil; i += c.load.Connections {
		start := time.Now()
		if due := began.Add(time.Duration(i) * step); step > 0 && due.After(start) {
			clock.Reset(due.Sub(start))
			select {
			case <-clock.C:
			case <-ctx.Done():
				return
			}
			start = time.Now()
		} else if step > 0 {
			start = due // the client was still busy: the wait is the server's
		}
		ask := c.ask
		if c.load.Handshakes {
			ask = func(i int) error { return shakeHands(c.load.Address, host(i)) }
		}
		if err := ask(i % c.load.Hosts); err != nil {
			c.close()
			c.failures = append(c.failures, fmt.Errorf("%s: %w", host(i%c.load.Hosts), err))
			continue
		}
		c.took = append(c.took, time.Since(start))
	}
}

func (c *connection1) close() {
	if c.connection != nil {
		c.connection.Close()
		c.connection = nil
	}
}

// ask sends a request and reads its answer, which must be 200.
func (c *connection1) ask(i int) error {
	if c.connection == nil {
		connection, err := net.Dial("tcp", c.load.Address)
		if err != nil {
			return err
		}
		if err := connection.SetDeadline(time.Now().Add(c.load.Duration + 10*time.Second)); err != nil {
			return err
		}
		c.connection, c.answers = connection, bufio.NewReader(connection)
	}
	c.request = append(c.request[:0], "GET /a/path?of=some&length=here HTTP/1.1\r\nHost: "...)
	c.request = append(c.request, host(i)...)
	c.request = append(c.request, "\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"...)
	if _, err := c.connection.Write(c.request); err != nil {
		return err
	}
	return c.read()
}

// read reads an answer.
func (c *connection1) read() error {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return errors.New(string(bytes.TrimSpace(line)))
	}
	length, last := 0, false
	for {
		line, err := c.answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case bytes.EqualFold(name, []byte("connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	_, err = c.answers.Discard(length)
	if last {
		c.close()
	}
	return err
}
