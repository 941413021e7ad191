package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Listener is a socket of the node that waits for others: one of TCP that listens, or one of
// UDP without a peer.
type Listener struct {
	Protocol uint8 // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	// At is where it waits; the unspecified address stands for every address of its family.
	At netip.AddrPort
	// Both says that it waits at every address of the other family, too.
	Both bool
	// Inode identifies the socket.
	Inode uint32
}

// Listeners returns the sockets of the node that wait for others, of both families. The
// kernel skips connections, so the cost is that of the listeners and of all UDP sockets.
func Listeners() ([]Listener, error) {
	const tcpListen, udpUnconnected = 10, 7 // TCP_LISTEN and TCP_CLOSE of the kernel's states
	var all []Listener
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for protocol, state := range map[uint8]int{unix.IPPROTO_TCP: tcpListen, unix.IPPROTO_UDP: udpUnconnected} {
			found, err := sockets(socketRequest{family, protocol, 1 << state})
			if errors.Is(err, unix.ENOENT) && family == unix.AF_INET6 && withoutIPv6() {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list the sockets of the node: %w", err)
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// socketRequest is the kernel's inet_diag_req_v2.
type socketRequest struct {
	family, protocol uint8
	states           uint32 // by bit
}

const socketRequestSize = 56

// Len implements nl.NetlinkRequestData.
func (socketRequest) Len() int { return socketRequestSize }

// Serialize implements nl.NetlinkRequestData.
func (r socketRequest) Serialize() []byte {
	b := make([]byte, socketRequestSize)
	b[0], b[1] = r.family, r.protocol
	binary.NativeEndian.PutUint32(b[4:], r.states)
	return b
}

// sockets asks the kernel.
func sockets(request socketRequest) ([]Listener, error) {
	r := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	r.AddData(request)
	messages, err := r.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var all []Listener
	for _, message := range messages {
		if found, is := listener(request.protocol, message); is {
			all = append(all, found)
		}
	}
	return all, nil
}

// listener reads the kernel's inet_diag_msg.
func listener(protocol uint8, message []byte) (Listener, bool) {
	const (
		port, address, inode, size = 4, 8, 68, 72
		onlyIPv6                   = 11 // INET_DIAG_SKV6ONLY
	)
	if len(message) < size {
		return Listener{}, false
	}
	length := 4
	if message[0] == unix.AF_INET6 {
		length = 16
	}
	at, _ := netip.AddrFromSlice(message[address : address+length])
	found := Listener{
		Protocol: protocol, At: netip.AddrPortFrom(at.Unmap(), binary.BigEndian.Uint16(message[port:])),
		Inode: binary.NativeEndian.Uint32(message[inode:]),
	}
	if at == netip.IPv6Unspecified() {
		attributes, err := nl.ParseRouteAttr(message[size:])
		found.Both = err == nil && !slices.ContainsFunc(attributes, func(a syscall.NetlinkRouteAttr) bool {
			return a.Attr.Type == onlyIPv6 && len(a.Value) > 0 && a.Value[0] != 0
		})
	}
	return found, found.At.Port() != 0
}

// mostDescriptors is how many open files of programs are looked at for the owners of sockets.
const mostDescriptors = 200_000

// Programs returns the names of the programs that have sockets, by the inodes of the sockets.
// It knows only programs that this process sees: a container without the node's process IDs
// sees its own. It reads all open files of all programs, up to a bound.
func Programs(inodes ...uint32) map[uint32]string {
	wanted := map[string]uint32{}
	for _, inode := range inodes {
		wanted[fmt.Sprintf("socket:[%d]", inode)] = inode
	}
	names, looked := map[uint32]string{}, 0
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, process := range processes {
		if _, err := strconv.Atoi(process.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", process.Name())
		files, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, file := range files {
			to, err := os.Readlink(filepath.Join(dir, "fd", file.Name()))
			if inode, is := wanted[to]; is && err == nil {
				names[inode] = programName(dir)
			}
		}
		if looked += len(files); looked > mostDescriptors || len(names) == len(wanted) {
			break
		}
	}
	return names
}

func programName(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
