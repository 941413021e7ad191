package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Counted is what a counter of a table has counted. It begins again when the table is made.
type Counted struct{ Packets, Bytes uint64 }

// Counters returns what the counters of a table have counted, by name. They are the
// kernel's, whoever made them; a table that does not exist has none. It waits for a commit
// that is under way.
func (e *Engine) Counters(ctx context.Context, k TableKey) (map[string]Counted, error) {
	select {
	case e.writing <- struct{}{}: // the socket is for one at a time
		defer func() { <-e.writing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("read the counters of table %s: %w", k, ctx.Err())
	}
	for range attempts {
		all, err := e.reader.counted(ctx, k)
		switch {
		case errors.Is(err, message.ErrInterrupted):
			continue // somebody wrote meanwhile
		case errors.Is(err, unix.ENOENT):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read the counters of table %s: %w", k, err)
		}
		return all, nil
	}
	return nil, fmt.Errorf("read the counters of table %s: others changed the rules %d times meanwhile", k, attempts)
}

func (r reader) counted(ctx context.Context, k TableKey) (map[string]Counted, error) {
	var a message.Attributes
	a.Text(unix.NFTA_OBJ_TABLE, k.Name)
	a.Uint32(unix.NFTA_OBJ_TYPE, objectCounter)
	all := map[string]Counted{}
	err := r.request(ctx, unix.NFT_MSG_GETOBJ, k, netlink.Dump, a, func(f *message.Fields) {
		is := f.Nest(unix.NFTA_OBJ_DATA)
		all[f.Text(unix.NFTA_OBJ_NAME)] = Counted{is.Uint64(unix.NFTA_COUNTER_PACKETS), is.Uint64(unix.NFTA_COUNTER_BYTES)}
	})
	return all, err
}
