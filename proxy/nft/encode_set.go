package nft

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

const (
	setConcat    = 0x80 // NFT_SET_CONCAT
	setFieldList = 2    // NFTA_SET_DESC_CONCAT
	setFieldSize = 1    // NFTA_SET_FIELD_LEN
	verdictType  = 0xffffff00
	elementEnd   = 10 // NFTA_SET_ELEM_KEY_END
)

func (s Set) flags() uint32 {
	var f uint32
	for _, x := range []struct {
		on  bool
		bit uint32
	}{
		{s.Interval, unix.NFT_SET_INTERVAL},
		{s.Interval && len(s.Key) > 1, setConcat},
		{len(s.Value) > 0, unix.NFT_SET_MAP},
		{s.Dynamic, unix.NFT_SET_EVAL},
		{s.Timed, unix.NFT_SET_TIMEOUT},
	} {
		if x.on {
			f |= x.bit
		}
	}
	return f
}

// newSet makes a set. The kernel wants an identifier, though we name sets by name.
func (w *writer) newSet(s Set) {
	id := uint32(len(w.messages) + 1) //nolint:gosec // a batch has fewer
	w.add(unix.NFT_MSG_NEWSET, create, "make set "+s.Name, func(a *message.Attributes) {
		a.Text(unix.NFTA_SET_TABLE, w.table.Name)
		a.Text(unix.NFTA_SET_NAME, s.Name)
		a.Uint32(unix.NFTA_SET_FLAGS, s.flags())
		a.Uint32(unix.NFTA_SET_KEY_TYPE, s.Key.number())
		a.Uint32(unix.NFTA_SET_KEY_LEN, uint32(s.Key.size())) //nolint:gosec // 64 at most
		a.Uint32(unix.NFTA_SET_ID, id)
		if s.Value.verdict() {
			a.Uint32(unix.NFTA_SET_DATA_TYPE, verdictType)
			a.Uint32(unix.NFTA_SET_DATA_LEN, 0)
		} else if len(s.Value) > 0 {
			a.Uint32(unix.NFTA_SET_DATA_TYPE, s.Value.number())
			a.Uint32(unix.NFTA_SET_DATA_LEN, uint32(s.Value.size())) //nolint:gosec // 64 at most
		}
		if s.Timeout != 0 {
			a.Uint64(unix.NFTA_SET_TIMEOUT, milliseconds(s.Timeout))
		}
		if s.Size != 0 || s.Interval && len(s.Key) > 1 {
			a.Nest(unix.NFTA_SET_DESC, s.describe)
		}
		a.Bytes(unix.NFTA_SET_USERDATA, s.userdata())
	})
}

func (s Set) describe(a *message.Attributes) {
	if s.Size != 0 {
		a.Uint32(unix.NFTA_SET_DESC_SIZE, s.Size)
	}
	if !s.Interval || len(s.Key) < 2 {
		return
	}
	a.Nest(setFieldList, func(a *message.Attributes) {
		for _, field := range s.Key {
			a.Nest(unix.NFTA_LIST_ELEM, func(a *message.Attributes) {
				a.Uint32(setFieldSize, uint32(field.size())) //nolint:gosec // 16 at most
			})
		}
	})
}

func (w *writer) deleteSet(name string) {
	w.add(unix.NFT_MSG_DELSET, 0, "delete set "+name, func(a *message.Attributes) {
		a.Text(unix.NFTA_SET_TABLE, w.table.Name)
		a.Text(unix.NFTA_SET_NAME, name)
	})
}

// Elements go in messages of this many bytes at most. The list is one attribute,
// whose length has 16 bits.
const maxElements = 48 << 10

// elements adds or deletes elements of a set, in as many messages as they need.
func (w *writer) elements(kind uint8, s Set, elements []*Element) {
	verb := "add"
	if kind == unix.NFT_MSG_DELSETELEM {
		verb = "delete"
	}
	for len(elements) > 0 {
		var list message.Attributes
		n := 0
		for ; n < len(elements) && len(list) < maxElements; n++ {
			elements[n].encode(&list, s)
		}
		subject := fmt.Sprintf("%s %d elements of set %s", verb, n, s.Name)
		if n == 1 {
			subject = fmt.Sprintf("%s element %s of set %s", verb, s.format(*elements[0]), s.Name)
		}
		w.add(kind, create, subject, func(a *message.Attributes) {
			a.Text(unix.NFTA_SET_ELEM_LIST_TABLE, w.table.Name)
			a.Text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
			a.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *message.Attributes) { *a = append(*a, list...) })
		})
		elements = elements[n:]
	}
}

// encode appends the element. A range of one field is two elements for the
// kernel: its first key, and the key behind its last one, if there is one.
func (e Element) encode(list *message.Attributes, s Set) {
	list.Nest(unix.NFTA_LIST_ELEM, func(a *message.Attributes) {
		data(a, unix.NFTA_SET_ELEM_KEY, e.Key)
		if s.Interval && len(s.Key) > 1 {
			data(a, elementEnd, e.End)
		}
		if e.Verdict.Kind != 0 {
			e.Verdict.append(a, unix.NFTA_SET_ELEM_DATA)
		} else if e.Value != "" {
			data(a, unix.NFTA_SET_ELEM_DATA, e.Value)
		}
		if e.Timeout != 0 {
			a.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, milliseconds(e.Timeout))
		}
	})
	if !s.Interval || len(s.Key) > 1 {
		return
	}
	if behind, ok := next(e.End); ok {
		list.Nest(unix.NFTA_LIST_ELEM, func(a *message.Attributes) {
			data(a, unix.NFTA_SET_ELEM_KEY, behind)
			a.Uint32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		})
	}
}

// next is the value after v in network order, if v is not the last of its length.
func next(v Value) (Value, bool) {
	b := []byte(v)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return Value(b), true
		}
	}
	return "", false
}

// previous is the value before v, if v is not zero.
func previous(v Value) (Value, bool) {
	b := []byte(v)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]--; b[i] != 0xff {
			return Value(b), true
		}
	}
	return "", false
}
