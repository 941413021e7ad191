package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// ErrOwned means that another process owns a table, such as the agent that this
// one replaces. Try again when it has ended.
var ErrOwned = errors.New("another process owns the table")

// ErrNewer means that a table of the kernel has a newer version than its skeleton.
var ErrNewer = errors.New("the table is of a newer version")

// Options are the choices of an Engine. The zero value is for use.
type Options struct {
	// WithoutOwner makes tables that others can change, as kernels before 6.9 do.
	WithoutOwner bool
}

// Engine keeps tables of one network namespace as declared and submitted. Its
// methods may be called concurrently; one at a time writes.
type Engine struct {
	socket  *message.Socket
	reader  reader
	flags   uint32        // of new tables
	writing chan struct{} // holds a value while somebody writes

	mu     sync.Mutex // guards tables, and what is submitted in them
	tables []*table

	generation uint32 // after our last write, or the last look

	judged judgement // of others' chains; writing guards it, too
	seen   Outline   // of others' tables; writing guards it, too
}

// table is one table of an engine.
type table struct {
	skeleton Table
	fixed    map[string]Set // of the skeleton

	// Engine.mu guards what is submitted.
	pending   map[Key]*printed // nil removes a part
	completed bool             // Complete was called

	// Engine.writing guards the rest.
	parts   map[Key]*printed
	adopted *printed // what was found and nobody has claimed yet
	wanted  *wanted
	have    *content
	ready   bool // have is known
	full    bool // everything must be compared
	unsure  bool // have may not be what the kernel has, by our own doing
}

// New opens an engine in the network namespace of the calling thread. It needs
// CAP_NET_ADMIN. It writes nothing before the first Commit but a table that it
// removes at once, to learn which flags the kernel knows.
func New(ctx context.Context, options Options) (*Engine, error) {
	socket, err := message.Dial()
	if err != nil {
		return nil, err
	}
	e := &Engine{socket: socket, reader: reader{socket}, writing: make(chan struct{}, 1)}
	if !options.WithoutOwner {
		if e.flags, err = e.probe(ctx); err != nil {
			return nil, errors.Join(err, socket.Close())
		}
	}
	return e, nil
}

// probe returns the table flags that the kernel knows: owner and persist, or none.
func (e *Engine) probe(ctx context.Context) (uint32, error) {
	w := &writer{table: TableKey{IPv4, fmt.Sprintf("fairway-probe-%d", e.socket.Port())}}
	w.newTable(flagOwner | flagPersist)
	w.deleteTable()
	err := e.socket.Commit(ctx, message.Batch{Messages: w.messages})
	var refusal *message.RefusalError
	switch {
	case err == nil:
		return flagOwner | flagPersist, nil
	case errors.As(err, &refusal) && (refusal.Errno == unix.EINVAL || refusal.Errno == unix.EOPNOTSUPP):
		return 0, nil
	default:
		return 0, fmt.Errorf("learn what tables the kernel knows: %w", err)
	}
}

// Close gives the tables up. They stay in the kernel, and the next engine adopts them.
func (e *Engine) Close() error { return e.socket.Close() }

// Declare says that the engine keeps a table of this skeleton. Call it once a
// table, before Submit. Keep and change nothing of what you give.
func (e *Engine) Declare(t Table) error {
	if err := (Part{Sets: t.Sets, Chains: t.Chains}).check(nil); err != nil {
		return fmt.Errorf("declare table %s: %w", t.Key(), err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.table(t.Key()) != nil {
		return fmt.Errorf("declare table %s: it is declared already", t.Key())
	}
	e.tables = append(e.tables, &table{
		skeleton: t, fixed: byName(t.Sets), pending: map[Key]*printed{}, parts: map[Key]*printed{}, wanted: newWanted(),
	})
	return nil
}

func (e *Engine) table(k TableKey) *table {
	for _, t := range e.tables {
		if t.skeleton.Key() == k {
			return t
		}
	}
	return nil
}

// Submit says what key wants in a table from the next Commit on, in place of
// what it wanted before. An empty part is none. Keep and change nothing of it.
// An error says why the part can never be written; the earlier one stays.
func (e *Engine) Submit(k TableKey, key Key, part Part) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.table(k)
	if t == nil {
		return fmt.Errorf("submit %s: table %s is not declared", key, k)
	}
	if part.empty() {
		t.pending[key] = nil
		return nil
	}
	if err := part.check(t.fixed); err != nil {
		return fmt.Errorf("submit %s to table %s: %w", key, k, err)
	}
	t.pending[key] = part.print()
	return nil
}

func (p Part) print() *printed {
	x := &printed{Part: p, counters: p.Counters}
	for _, c := range p.Chains {
		x.chains = append(x.chains, c.content())
	}
	x.Chains = nil
	return x
}

// Complete says that all keys of a table were submitted. The next Commit removes
// what was found at the start and nobody wants.
func (e *Engine) Complete(k TableKey) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.table(k)
	if t == nil {
		return fmt.Errorf("complete table %s: it is not declared", k)
	}
	t.completed = true
	return nil
}

// Remove deletes tables from the kernel and forgets them. A table that does not
// exist is no error.
func (e *Engine) Remove(ctx context.Context, keys ...TableKey) error {
	defer e.lock()()
	var messages []message.Message
	for _, k := range keys {
		c := newContent()
		if err := e.reader.head(ctx, k, c); err != nil {
			return fmt.Errorf("look for table %s: %w", k, err)
		}
		if c.exists {
			w := &writer{table: k}
			w.deleteTable()
			messages = append(messages, w.messages...)
		}
	}
	if len(messages) > 0 {
		if err := e.socket.Commit(ctx, message.Batch{Messages: messages}); err != nil {
			return fmt.Errorf("remove tables: %w", owned(err))
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tables = slices.DeleteFunc(e.tables, func(t *table) bool { return slices.Contains(keys, t.skeleton.Key()) })
	return nil
}

// lock waits until nobody else writes, and returns the function that ends it.
func (e *Engine) lock() func() {
	e.writing <- struct{}{}
	return func() { <-e.writing }
}

// owned says that a table is another's, if that is why the kernel refused.
func owned(err error) error {
	var refusal *message.RefusalError
	if errors.As(err, &refusal) && refusal.Errno == unix.EPERM {
		return fmt.Errorf("%w: %w", ErrOwned, err)
	}
	return err
}

// versionChain is the chain whose comment is the version of the skeleton.
const versionChain = "version"

// part is the skeleton as what its claimant wants.
func (t Table) part() *printed {
	chains := append(slices.Clone(t.Chains), Chain{Name: versionChain, Comment: strconv.Itoa(t.Version)})
	x := Part{Sets: t.Sets, Chains: chains}.print()
	x.counters = t.Counters
	return x
}

// version reads the version that a table has; zero if it says none.
func (c *content) version() int {
	if chain := c.chains[versionChain]; chain != nil {
		if n, err := strconv.Atoi(chain.Comment); err == nil {
			return n
		}
	}
	return 0
}
