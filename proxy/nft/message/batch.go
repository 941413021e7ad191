package message

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Message is one request to netfilter.
type Message struct {
	Subsystem  uint8 // unix.NFNL_SUBSYS_…
	Kind       uint8 // what the subsystem calls its message types
	Family     uint8 // unix.NFPROTO_…
	Version    uint8 // zero but for ctnetlink
	Resource   uint16
	Flags      netlink.HeaderFlags
	Attributes Attributes
	Subject    string // what it is about, for errors
}

func (m Message) append(b []byte, sequence uint32, flags netlink.HeaderFlags) []byte {
	const nfgenmsg = 4
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+nfgenmsg+len(m.Attributes))) //nolint:gosec // far below 4 GiB
	b = binary.NativeEndian.AppendUint16(b, uint16(m.Subsystem)<<8|uint16(m.Kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(m.Flags|flags))
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows the port
	b = append(b, m.Family, m.Version, byte(m.Resource>>8), byte(m.Resource))
	return append(b, m.Attributes...) // padded already
}

// Batch is a transaction: the kernel does all of its messages or none.
type Batch struct {
	// Generation, if not zero, is what the rules' generation must be. Otherwise the
	// kernel does nothing, and Commit returns ErrGeneration.
	Generation uint32
	Messages   []Message
}

// ErrGeneration means that somebody else has written since the batch was made.
var ErrGeneration = errors.New("the rules have another generation")

// RefusalError is the kernel's refusal of one message of a batch. Unwrap gives the errno.
type RefusalError struct {
	Subject string // of the message
	Errno   unix.Errno
}

func (r *RefusalError) Error() string { return fmt.Sprintf("%s: %v", r.Subject, r.Errno) }

func (r *RefusalError) Unwrap() error { return r.Errno }

// Commit sends the batch and waits for the kernel's answer. If the kernel refuses
// messages, the error wraps a *RefusalError for each of them, ten at most. ErrLost
// leaves open whether the batch was committed.
func (s *Socket) Commit(ctx context.Context, batch Batch) error {
	b, first := s.marshal(batch)
	last := first + uint32(len(batch.Messages)) //nolint:gosec // far below 4 Gi
	defer s.watch(ctx)()
	if err := s.send(ctx, b); err != nil {
		return err
	}
	const most = 10
	var refused []error
	for done := false; !done; {
		err := s.receive(func(h header, body []byte) error {
			err := errorIn(body)
			if h.kind != unix.NLMSG_ERROR || h.sequence-first > last-first {
				return nil // left over from an earlier request
			}
			done = done || h.sequence == last
			switch {
			case h.sequence == first && errors.Is(err, unix.ERESTART):
				return ErrGeneration
			case h.sequence == first && err != nil:
				return fmt.Errorf("commit %d messages: %w", len(batch.Messages), err)
			case err != nil && len(refused) < most:
				refused = append(refused, refusal(batch.Messages[h.sequence-first-1], err))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

func refusal(m Message, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	return &RefusalError{Subject: m.Subject, Errno: errno}
}

// marshal frames the batch. It returns the sequence number of the message that
// begins it; the others count up from it.
func (s *Socket) marshal(batch Batch) ([]byte, uint32) {
	begin := Message{Resource: unix.NFNL_SUBSYS_NFTABLES}
	if batch.Generation != 0 {
		const generation = 1 // NFNL_BATCH_GENID
		begin.Attributes.Uint32(generation, batch.Generation)
	}
	first := s.sequence + 1
	s.sequence = first
	begin.Kind = unix.NFNL_MSG_BATCH_BEGIN
	b := begin.append(nil, s.sequence, netlink.Request)
	for i, m := range batch.Messages {
		s.sequence++
		flags := netlink.Request
		if i == len(batch.Messages)-1 {
			flags |= netlink.Acknowledge
		}
		b = m.append(b, s.sequence, flags)
	}
	s.sequence++
	end := Message{Resource: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFNL_MSG_BATCH_END}
	return end.append(b, s.sequence, netlink.Request), first
}

// Size is the number of bytes that m takes on the wire.
func (m Message) Size() int { return unix.SizeofNlMsghdr + 4 + len(m.Attributes) }
