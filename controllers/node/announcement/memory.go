package announcement

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// Memory is a file with the addresses that a node answers for. An agent that starts while the API
// server is away reads it. It counts until the machine boots.
type Memory struct {
	Path string // empty: nothing is remembered
	Boot string // the present boot of the machine
}

// MemoryIn is the file in the agent's run folder.
func MemoryIn(folder string) string { return filepath.Join(folder, "addresses.json") }

// Forget removes the file from there.
func Forget(folder string) error {
	if err := os.Remove(MemoryIn(folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what this node answered for: %w", err)
	}
	return nil
}

// memoryVersion is that of the file. An agent reads no other.
const memoryVersion = 1

// Bounds of the file.
const (
	mostRemembered = 4096
	mostMemory     = 1 << 20 // bytes
)

type memory struct {
	Version   int          `json:"version"`
	Boot      string       `json:"boot"`
	Node      string       `json:"node"`
	Addresses []netip.Addr `json:"addresses"`
}

// read returns what a node held. Of an earlier boot, of another node or without a file, that is
// nothing.
func (m Memory) read(node string) ([]netip.Addr, error) {
	file, err := os.Open(m.Path)
	if m.Path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what this node answered for: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var said memory
	if err := json.NewDecoder(io.LimitReader(file, mostMemory)).Decode(&said); err != nil {
		return nil, fmt.Errorf("read what this node answered for: %s: %w", m.Path, err)
	}
	switch {
	case said.Version != memoryVersion:
		return nil, fmt.Errorf("read what this node answered for: %s has the version %d, this agent knows %d", m.Path, said.Version, memoryVersion)
	case said.Boot != m.Boot || said.Node != node:
		return nil, nil
	}
	return said.Addresses[:min(len(said.Addresses), mostRemembered)], nil
}

// write puts the file in place of an earlier one, whole.
func (m Memory) write(node string, addresses []netip.Addr) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write what this node answers for: %w", err)
		}
	}()
	content, err := json.Marshal(memory{memoryVersion, m.Boot, node, addresses[:min(len(addresses), mostRemembered)]})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(m.Path), "."+filepath.Base(m.Path)+"-*")
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), m.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
