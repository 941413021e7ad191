// Package nflog hears of the packets that rules of nftables hand to a group (nft.LogTo).
//
// The kernel waits for nobody: what a listener is too slow for is lost. Only headers are copied. The
// attributes are those of the kernel's include/uapi/linux/netfilter/nfnetlink_log.h.
package nflog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Numbers of the kernel's.
const (
	messagePacket = 0 // NFULNL_MSG_PACKET
	messageConfig = 1 // NFULNL_MSG_CONFIG

	configCommand = 1 // NFULA_CFG_CMD
	configMode    = 2 // NFULA_CFG_MODE
	commandBind   = 1 // NFULNL_CFG_CMD_BIND
	copyPacket    = 2 // NFULNL_COPY_PACKET

	packetPayload = 9  // NFULA_PAYLOAD
	packetPrefix  = 10 // NFULA_PREFIX
)

// headers are how many bytes of a packet are copied: those of IPv6 with extensions, and ports.
const headers = 256

// ErrTaken means that another process listens to the group. The kernel says the same to a process without
// CAP_NET_ADMIN.
var ErrTaken = errors.New("another process listens to this group, or CAP_NET_ADMIN is missing")

// ErrLost means that packets were lost, because the listener was too slow.
var ErrLost = message.ErrLost

// Packet is one that a rule logged.
type Packet struct {
	Prefix string // of the rule
	Headers
}

// Listener hears of the packets of a group. It is for one goroutine at a time.
type Listener struct{ socket *message.Socket }

// Open listens to a group in the network namespace of the calling thread. It needs CAP_NET_ADMIN, and
// loads the kernel's module if there is one.
func Open(ctx context.Context, group uint16) (*Listener, error) {
	socket, err := message.Dial()
	if err != nil {
		return nil, err
	}
	var a message.Attributes
	a.Bytes(configCommand, []byte{commandBind})
	a.Bytes(configMode, append(binary.BigEndian.AppendUint32(nil, headers), copyPacket, 0))
	err = socket.Request(ctx, message.Message{
		Subsystem: unix.NFNL_SUBSYS_ULOG, Kind: messageConfig, Resource: group, Attributes: a,
	}, netlink.Acknowledge, func(uint16, []byte) {})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EBUSY) {
		err = ErrTaken
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to packets of group %d: %w", group, err), socket.Close())
	}
	return &Listener{socket}, nil
}

// Listen calls each for every packet until ctx ends, or some were lost (ErrLost): then it may be called
// again.
func (l *Listener) Listen(ctx context.Context, each func(Packet)) error {
	return l.socket.Listen(ctx, func(kind uint16, body []byte) {
		const nfgenmsg = 4
		if kind != unix.NFNL_SUBSYS_ULOG<<8|messagePacket || len(body) < nfgenmsg {
			return
		}
		fields := message.Parse(body[nfgenmsg:])
		if headers, ok := parse(fields[packetPayload]); ok {
			each(Packet{fields.Text(packetPrefix), headers})
		}
	})
}

// Close ends listening.
func (l *Listener) Close() error { return l.socket.Close() }
