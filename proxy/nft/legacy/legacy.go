// Package legacy reads which chains the iptables of before nftables has, which some programs
// still call: iptables-legacy writes them.
//
// It only reads, and it loads no module of the kernel: where the module is not there, no such
// table can exist. The structures are those of the kernel's linux/netfilter_ipv4/ip_tables.h
// and linux/netfilter_ipv6/ip6_tables.h.
package legacy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"unsafe" // getsockopt gives to x/sys/unix only what it knows

	"golang.org/x/sys/unix"
)

// Family is the kind of packets that a table sees.
type Family struct {
	// Program is what writes the tables: "iptables" or "ip6tables".
	Program string

	names          string // file of the tables' names
	domain, level  int
	targets, nexts int // where an entry has the offset of its target, and its length
}

// Families are both families.
func Families() []Family {
	const (
		entry4 = 84 + 4  // struct ipt_ip, nfcache
		entry6 = 136 + 4 // struct ip6t_ip6, nfcache
	)
	return []Family{
		{"iptables", "/proc/thread-self/net/ip_tables_names", unix.AF_INET, unix.IPPROTO_IP, entry4, entry4 + 2},
		{"ip6tables", "/proc/thread-self/net/ip6_tables_names", unix.AF_INET6, unix.IPPROTO_IPV6, entry6, entry6 + 2},
	}
}

// Tables are the names of the tables that exist in the network namespace of the calling
// thread.
func (f Family) Tables() ([]string, error) {
	content, err := os.ReadFile(f.names)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the kernel has no such tables
	}
	if err != nil {
		return nil, fmt.Errorf("read the names of tables of %s: %w", f.Program, err)
	}
	return strings.Fields(string(content)), nil
}

const (
	tableName = 32 // XT_TABLE_MAXNAMELEN
	chainName = 30 // XT_FUNCTION_MAXNAMELEN, with its NUL
	info      = 64 // IPT_SO_GET_INFO and IP6T_SO_GET_INFO
	entries   = 65 // IPT_SO_GET_ENTRIES and IP6T_SO_GET_ENTRIES
)

// Chains are the names of the chains that somebody has made in one of Tables. It needs
// CAP_NET_ADMIN.
func (f Family) Chains(table string) ([]string, error) {
	socket, err := unix.Socket(f.domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a socket to %s: %w", f.Program, err)
	}
	defer func() { _ = unix.Close(socket) }() // nothing is written
	const attempts = 10                       // others may write meanwhile
	for range attempts {
		blob, err := f.read(socket, table)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read table %s of %s: %w", table, f.Program, err)
		}
		return f.chains(blob), nil
	}
	return nil, fmt.Errorf("read table %s of %s: others changed it %d times meanwhile", table, f.Program, attempts)
}

// read returns the entries of a table. The kernel says EAGAIN if there are not as many as it
// has just said.
func (f Family) read(socket int, table string) ([]byte, error) {
	const (
		infoLength = 84 // struct ipt_getinfo
		size       = 80 // of the entries, in it
		begin      = 40 // of the entries in struct ipt_get_entries, which are aligned
	)
	about := make([]byte, infoLength)
	copy(about[:tableName-1], table)
	if err := f.get(socket, info, about); err != nil {
		return nil, err
	}
	length := binary.NativeEndian.Uint32(about[size:])
	all := make([]byte, begin+int(length))
	copy(all[:tableName-1], table)
	binary.NativeEndian.PutUint32(all[tableName:], length)
	if err := f.get(socket, entries, all); err != nil {
		return nil, err
	}
	return all[begin:], nil
}

// get is getsockopt with a structure that says what is asked for.
func (f Family) get(socket, option int, structure []byte) error {
	length := uint32(len(structure)) //nolint:gosec // the kernel's is not longer
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), uintptr(f.level), uintptr(option),
		uintptr(unsafe.Pointer(&structure[0])), uintptr(unsafe.Pointer(&length)), 0)
	runtime.KeepAlive(structure)
	if errno != 0 {
		return errno
	}
	return nil
}

// chains are the names in the entries that begin chains: their target is called ERROR, and
// the name is what it says.
func (f Family) chains(blob []byte) []string {
	const (
		head = 32      // struct xt_entry_target: a length of two bytes, then the name
		mark = "ERROR" // also the name of what ends the table
	)
	var all []string
	for len(blob) >= f.nexts+2 {
		target, next := int(binary.NativeEndian.Uint16(blob[f.targets:])), int(binary.NativeEndian.Uint16(blob[f.nexts:]))
		if next == 0 || next > len(blob) {
			break
		}
		if target+head+chainName <= next && text(blob[target+2:target+head]) == mark {
			if name := text(blob[target+head : target+head+chainName]); name != mark {
				all = append(all, name)
			}
		}
		blob = blob[next:]
	}
	return all
}

// text is what comes before a NUL.
func text(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
