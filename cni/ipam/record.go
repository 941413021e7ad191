package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	version = 1
	// largest is the size of a record in bytes. One with 500 host ports has half of it.
	largest = 64 << 10
)

// ErrVersion says that a newer Fairway wrote a record. Its addresses are taken,
// and this one never removes it for a reason of its own.
var ErrVersion = errors.New("a newer version wrote it")

// record is a lease in its file. The addresses are the names of the file.
type record struct {
	Version   int    `json:"version"`
	Container string `json:"container"`
	Interface string `json:"interface"`
	Lease
}

// encode refuses what decode would refuse.
func encode(l Lease) ([]byte, error) {
	text, err := json.Marshal(record{Version: version, Container: l.Container, Interface: l.Interface, Lease: l})
	if err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	text = append(text, '\n')
	if _, err := decode(text); err != nil {
		return nil, err
	}
	return text, nil
}

// decode reads a record. Fields that it does not know are of a newer Fairway that
// kept the version, because an older one may ignore them.
func decode(text []byte) (Lease, error) {
	if len(text) > largest {
		return Lease{}, fmt.Errorf("read record: it is larger than %d bytes", largest)
	}
	// The version first: what follows may have changed its type.
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return Lease{}, fmt.Errorf("read record: %w", err)
	}
	if head.Version > version {
		return Lease{}, fmt.Errorf("read record of version %d: %w", head.Version, ErrVersion)
	}
	if head.Version != version {
		return Lease{}, fmt.Errorf("read record: there is no version %d", head.Version)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return Lease{}, fmt.Errorf("read record: %w", err)
	}
	r.Key = Key{Container: r.Container, Interface: r.Interface}
	if err := r.check(); err != nil {
		return Lease{}, fmt.Errorf("read record: %w", err)
	}
	return r.Lease, nil
}

// check demands what Verdict judges by.
func (l Lease) check() error {
	if err := l.Validate(); err != nil {
		return err
	}
	if l.Boot == "" {
		return errors.New("it has no boot")
	}
	if l.Created.IsZero() {
		return errors.New("it has no time of creation")
	}
	return nil
}

// read reads the record of an open file.
func read(f *os.File) (Lease, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, largest+1))
	if err != nil {
		return Lease{}, fmt.Errorf("read record: %w", err)
	}
	return decode(text)
}
