package cni

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/netns"
)

const (
	packetRounds = 6 // of which the first warms up
	streaming    = 2 // seconds, after one that is not counted
	asking       = time.Second
)

// packets are what one path carried in one round.
type packets struct {
	one, eight float64 // bits a second, by one TCP connection and by eight
	cpu        float64 // of both ends with one connection, seconds a gigabyte
	answers    []time.Duration
}

// BenchmarkPackets measures what passes between two pods: by iperf3 with one connection and
// with eight, and how long a small request and its answer take. The paths take turns, round
// by round, because machines are not the same all the time. They share the machine's CPUs
// with both ends of each measurement, so a path that costs more carries less.
//
// FAIRWAY_BENCH_PATHS is an expression that the names of the paths match.
func BenchmarkPackets(b *testing.B) {
	wanted, err := regexp.Compile(os.Getenv("FAIRWAY_BENCH_PATHS"))
	if err != nil {
		b.Fatal(err)
	}
	all := paths(b)
	all = slices.DeleteFunc(all, func(p *path) bool { return !wanted.MatchString(p.name) })
	for _, p := range all {
		spawn(b, p.to, "/usr/bin/iperf3", "--server", "--bind", p.at.String())
	}
	for b.Loop() {
		for _, p := range all {
			p.rounds = nil
		}
		for range packetRounds {
			for _, p := range all {
				if err := p.round(b); err != nil {
					b.Fatalf("%s: %v", p.name, err)
				}
			}
		}
		for _, p := range all {
			p.rounds = p.rounds[1:]
		}
	}
	printPackets(os.Stdout, all)
}

func (p *path) round(b *testing.B) (err error) {
	b.Helper()
	var carried packets
	if carried.one, carried.cpu, err = p.stream(b.Context(), 1); err != nil {
		return err
	}
	if carried.eight, _, err = p.stream(b.Context(), 8); err != nil {
		return err
	}
	if carried.answers, err = ask(p.from, p.to, p.at); err != nil {
		return err
	}
	p.rounds = append(p.rounds, carried)
	return nil
}

// stream returns how many bits a second arrive over a number of connections, and the CPU time
// of both ends, in seconds a gigabyte.
func (p *path) stream(ctx context.Context, connections int) (bits, cpu float64, err error) {
	const tries = 10 // the server may be busy with the end of the last measurement
	for range tries {
		if bits, cpu, err = p.iperf(ctx, connections); err == nil {
			return bits, cpu, nil
		}
		select {
		case <-ctx.Done():
			return 0, 0, err
		case <-time.After(time.Second):
		}
	}
	return 0, 0, err
}

func (p *path) iperf(ctx context.Context, connections int) (bits, cpu float64, err error) {
	cmd := exec.CommandContext(ctx, "/usr/bin/iperf3", "--client", p.at.String(), "--parallel", strconv.Itoa(connections),
		"--omit", "1", "--time", strconv.Itoa(streaming), "--connect-timeout", "5000", "--json")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	p.from.Do(func() { err = cmd.Start() })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("iperf3: %w: %s", err, &said)
	}
	var report struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			CPU struct {
				Host   float64 `json:"host_total"`
				Remote float64 `json:"remote_total"`
			} `json:"cpu_utilization_percent"`
		} `json:"end"`
	}
	err = json.Unmarshal(said.Bytes(), &report)
	if err == nil && (report.Error != "" || report.End.Received.Bits == 0) {
		err = errors.New(cmp.Or(report.Error, "nothing arrived"))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("iperf3: %w", err)
	}
	const gigabyte = 8e9 // bits
	return report.End.Received.Bits, (report.End.CPU.Host + report.End.CPU.Remote) / 100 / (report.End.Received.Bits / gigabyte), nil
}

// ask sends small requests over one connection, each when the last is answered, and returns
// how long each took. Both ends are threads that wait in the kernel, so that no scheduler of
// ours is measured.
func ask(from, to *netns.Namespace, at netip.Addr) (took []time.Duration, err error) {
	var listener, client int
	var there unix.Sockaddr
	to.Do(func() { listener, there, err = listen(at) })
	if err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	defer unix.Close(listener)
	answered := make(chan error, 1)
	go to.Do(func() { answered <- answer(listener) })
	from.Do(func() {
		if client, err = dial(there); err == nil {
			took, err = request(client, time.Now().Add(asking))
		}
		err = errors.Join(err, unix.Shutdown(listener, unix.SHUT_RD), unix.Close(client))
	})
	return took, errors.Join(err, <-answered)
}

// size of a request and of an answer, in bytes.
const size = 64

func listen(at netip.Addr) (int, unix.Sockaddr, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	if err = unix.Bind(socket, &unix.SockaddrInet4{Addr: at.As4()}); err == nil {
		err = unix.Listen(socket, 1)
	}
	there, nameErr := unix.Getsockname(socket)
	return socket, there, errors.Join(err, nameErr)
}

func dial(to unix.Sockaddr) (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return socket, errors.Join(unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), unix.Connect(socket, to))
}

// answer answers the requests of one client until it has ended.
func answer(listener int) error {
	socket, _, err := unix.Accept(listener)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	message := make([]byte, size)
	for {
		n, err := unix.Read(socket, message)
		if err != nil || n == 0 {
			return err
		}
		if _, err := unix.Write(socket, message[:n]); err != nil {
			return err
		}
	}
}

func request(socket int, until time.Time) ([]time.Duration, error) {
	message := make([]byte, size)
	var took []time.Duration
	for began := time.Now(); began.Before(until); began = time.Now() {
		if _, err := unix.Write(socket, message); err != nil {
			return nil, err
		}
		for got := 0; got < size; {
			n, err := unix.Read(socket, message)
			if err != nil || n == 0 {
				return nil, fmt.Errorf("read an answer: %d bytes, %w", n, err)
			}
			got += n
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
