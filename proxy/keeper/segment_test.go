package keeper_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/soak"
)

// liberal is the setting of conntrack that makes it translate segments out of the window.
const liberal = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"

// numbers are those of the next octet that a socket sends and expects.
func numbers(t *testing.T, c net.Conn) (sends, expects uint32) {
	t.Helper()
	const off = -1 // without a probe of the window
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	var wrong error
	must(t, raw.Control(func(fd uintptr) {
		wrong = func() error {
			s := int(fd)
			if err := unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
				return err
			}
			for queue, number := range map[int]*uint32{1: &expects, 2: &sends} { // TCP_RECV_QUEUE, TCP_SEND_QUEUE
				if err := unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
					return err
				}
				n, err := unix.GetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
				if err != nil {
					return err
				}
				*number = uint32(n)
			}
			return unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_REPAIR, off)
		}()
	}))
	must(t, wrong)
	return sends, expects
}

// stray is a segment of IPv4 with data.
func stray(from, to netip.AddrPort, sends, expects uint32) []byte {
	const ack, push, length = 0x10, 0x08, 20
	p := binary.BigEndian.AppendUint16(nil, from.Port())
	p = binary.BigEndian.AppendUint16(p, to.Port())
	p = binary.BigEndian.AppendUint32(p, sends)
	p = binary.BigEndian.AppendUint32(p, expects)
	p = append(p, length/4<<4, ack|push, 0x10, 0, 0, 0, 0, 0)
	p = append(p, "stray data"...)
	header := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	header = append(header, 0, unix.IPPROTO_TCP, 0, byte(len(p)))
	sum := uint32(0)
	for b := append(header, p...); len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[16:], ^uint16(sum))
	return p
}

// inject sends a segment n times from a namespace.
func inject(t *testing.T, from *netns.Namespace, segment []byte, to netip.AddrPort, n int) {
	t.Helper()
	on(t, from, func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		for range n {
			err := unix.Sendto(s, segment, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
			if err != nil && !errors.Is(err, unix.EPERM) {
				return err
			}
		}
		return nil
	})
}

// resets counts the resets that a namespace has sent.
func resets(t *testing.T, n *netns.Namespace) (count int) {
	t.Helper()
	on(t, n, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names, values []string
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "Tcp:") {
				names, values = values, strings.Fields(line)
			}
		}
		for i, name := range names {
			if name == "OutRsts" {
				_, err = fmt.Sscan(values[i], &count)
			}
		}
		return err
	})
	return count
}

// Segments out of the window of a connection to a Service are translated like all others.
// Without the setting, those beyond it reach an end with addresses that it does not know: it
// answers with a reset, which the other end believes.
func testStraySegments(t *testing.T, w *world) {
	accepted := w.echo(t, 1)
	w.write(t, at(made(t, 9, []int{1}, nodePort), echoPort))
	const far = 1 << 24 // of any window
	for _, setting := range []string{"1", "0"} {
		must(t, os.WriteFile(liberal, []byte(setting), 0))
		for _, c := range []struct {
			name string
			from *netns.Namespace
			to   string
		}{
			{"a pod to a cluster IP", w.pods[0], "10.96.1.9:80"},
			{"a client outside to a node port, with masquerade", w.client, "198.51.100.1:30080"},
		} {
			for _, by := range []string{"client", "server"} {
				var client net.Conn
				var err error
				c.from.Do(func() { client, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", c.to) })
				must(t, err)
				defer client.Close()
				server := <-accepted
				says(t, client, "before")
				end, from := client, c.from
				if by == "server" {
					end, from = server, w.pods[1]
				}
				sends, expects := numbers(t, end)
				own, other := plain(end.LocalAddr()), plain(end.RemoteAddr())
				before := resets(t, nil) + resets(t, c.from) + resets(t, w.pods[1])
				for _, stray := range [][]byte{stray(own, other, sends-far, expects), stray(own, other, sends+far, expects)} {
					inject(t, from, stray, other, soak.Pick(100, 10_000))
				}
				sent := resets(t, nil) + resets(t, c.from) + resets(t, w.pods[1]) - before
				if setting == "0" { // to see that the test would see it
					t.Logf("without the setting, %s, strays of the %s: %d resets", c.name, by, sent)
					continue
				}
				says(t, client, "after")
				if sent != 0 {
					t.Errorf("%s, strays of the %s: %d resets", c.name, by, sent)
				}
			}
		}
	}
}
