package message

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrLost means that the kernel had more to say than the socket could hold
// (ENOBUFS). It says nothing about what was asked: a batch may be committed.
var ErrLost = errors.New("the kernel's answer was lost")

// ErrInterrupted means that somebody wrote during a dump, so that it shows no
// state that ever was.
var ErrInterrupted = errors.New("the dump was interrupted by a write")

// Socket is a netlink socket to netfilter. It is for one goroutine at a time.
type Socket struct {
	conn     *netlink.Conn
	raw      syscall.RawConn
	buffer   []byte
	sequence uint32
	sendable int // bytes in one send
}

// Dial opens a socket in the network namespace of the calling thread.
func Dial() (*Socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach netfilter socket: %w", err), conn.Close())
	}
	return &Socket{conn: conn, raw: raw, buffer: make([]byte, 1<<18)}, nil
}

// Port identifies the socket to the kernel: tables that it owns bear this number.
func (s *Socket) Port() uint32 { return s.conn.PID() }

// Close closes the socket. The kernel takes the ownership of its tables away.
func (s *Socket) Close() error {
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("close netfilter socket: %w", err)
	}
	return nil
}

// Request asks for one thing, and yields the messages of the answer to each until
// the kernel has finished. A dump whose flags lack netlink.Dump gets one answer.
// Bytes that each is given are valid until it returns.
func (s *Socket) Request(ctx context.Context, m Message, flags netlink.HeaderFlags, each func(kind uint16, body []byte)) error {
	s.sequence++
	b := m.append(nil, s.sequence, netlink.Request|flags)
	defer s.watch(ctx)()
	if err := s.send(ctx, b); err != nil {
		return err
	}
	dump := flags&netlink.Dump == netlink.Dump
	interrupted := false
	for {
		done := false
		err := s.receive(func(h header, body []byte) error {
			if h.sequence != s.sequence {
				return nil // left over from a request that was given up
			}
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE:
				done = true
				return errorIn(body)
			case unix.NLMSG_ERROR:
				done = true
				return errorIn(body)
			default:
				each(h.kind, body)
				done = done || !dump
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case done && interrupted:
			return ErrInterrupted
		case done:
			return nil
		}
	}
}

// Listen yields what the kernel says without being asked, one datagram at a time, until ctx ends or
// something is lost (ErrLost), after which it may be called again. Bytes that each is given are valid until
// it returns.
func (s *Socket) Listen(ctx context.Context, each func(kind uint16, body []byte)) error {
	defer s.watch(ctx)()
	for {
		err := s.receive(func(h header, body []byte) error {
			each(h.kind, body)
			return nil
		})
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// watch makes reads end with ctx, until the returned function is called.
func (s *Socket) watch(ctx context.Context) func() {
	past := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
		close(past)
	})
	return func() {
		if !stop() {
			<-past
			_ = s.conn.SetReadDeadline(time.Time{})
		}
	}
}

func (s *Socket) send(ctx context.Context, b []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("send to netfilter: %w", err)
	}
	if err := s.room(len(b)); err != nil {
		return err
	}
	var sent error
	err := s.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(sent, unix.EAGAIN)
	})
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("send %d bytes to netfilter: %w", len(b), err)
	}
	return nil
}

// room makes the socket's buffer large enough to send size bytes at once. The
// kernel allows any size to root, and what net.core.wmem_max says to others.
func (s *Socket) room(size int) error {
	const reserve = 4096
	if size+reserve <= s.sendable {
		return nil
	}
	if err := s.conn.SetWriteBuffer(size + reserve); err != nil {
		return fmt.Errorf("set the buffer of the netfilter socket to %d bytes: %w", size, err)
	}
	has, err := s.conn.WriteBuffer()
	if err != nil {
		return fmt.Errorf("read the buffer of the netfilter socket: %w", err)
	}
	if s.sendable = has; size+reserve > has {
		return fmt.Errorf("send %d bytes in one batch: net.core.wmem_max allows %d: %w", size, has, unix.EMSGSIZE)
	}
	return nil
}

type header struct {
	kind, flags uint16
	sequence    uint32
}

// receive waits for one datagram and yields its messages until one is an error.
func (s *Socket) receive(each func(header, []byte) error) error {
	n := 0
	var received error
	err := s.raw.Read(func(fd uintptr) bool {
		n, _, received = unix.Recvfrom(int(fd), s.buffer, 0)
		return !errors.Is(received, unix.EAGAIN)
	})
	if errors.Is(received, unix.ENOBUFS) {
		return ErrLost
	}
	if err = errors.Join(err, received); err != nil {
		return fmt.Errorf("receive from netfilter: %w", err)
	}
	return split(s.buffer[:n], each)
}

func split(b []byte, each func(header, []byte) error) error {
	for len(b) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.SizeofNlMsghdr || length > len(b) {
			return fmt.Errorf("read answer of netfilter: a message of %d bytes in %d", length, len(b))
		}
		h := header{
			kind:     binary.NativeEndian.Uint16(b[4:]),
			flags:    binary.NativeEndian.Uint16(b[6:]),
			sequence: binary.NativeEndian.Uint32(b[8:]),
		}
		if err := each(h, b[unix.SizeofNlMsghdr:length]); err != nil {
			return err
		}
		b = b[min((length+alignment-1)/alignment*alignment, len(b)):]
	}
	return nil
}

// errorIn is the error that an answer of kind error or done carries: a negative
// errno, or zero.
func errorIn(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code < 0 { //nolint:gosec // the kernel puts an int there
		return unix.Errno(-code)
	}
	return nil
}
