package nft

import (
	"golang.org/x/sys/unix"

	"github.com/fairwaynet/fairway/proxy/nft/message"
)

// Counter counts packets in the rule. It begins again when the rule is replaced.
type Counter struct{}

func (Counter) name() string { return counter }

func (Counter) encode(*message.Attributes) {}

func decodeCounter(*message.Fields) Expression { return Counter{} }

// Count counts packets in the table's counter of that name, which outlives rules.
type Count struct{ Name string }

const objectCounter = 1 // NFT_OBJECT_COUNTER

func (Count) name() string { return objref }

func (c Count) encode(a *message.Attributes) {
	a.Uint32(unix.NFTA_OBJREF_IMM_TYPE, objectCounter)
	a.Text(unix.NFTA_OBJREF_IMM_NAME, c.Name)
}

func decodeObject(f *message.Fields) Expression {
	if f.Uint32(unix.NFTA_OBJREF_IMM_TYPE) != objectCounter {
		return nil
	}
	return Count{f.Text(unix.NFTA_OBJREF_IMM_NAME)}
}

// Limit matches Rate packets a second, and Burst more at once. With Over it
// matches those beyond.
type Limit struct {
	Rate  uint64
	Burst uint32
	Over  bool
}

func (Limit) name() string { return limit }

func (l Limit) encode(a *message.Attributes) {
	a.Uint64(unix.NFTA_LIMIT_RATE, l.Rate)
	a.Uint64(unix.NFTA_LIMIT_UNIT, 1)
	a.Uint32(unix.NFTA_LIMIT_BURST, l.Burst)
	a.Uint32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
	if l.Over {
		a.Uint32(unix.NFTA_LIMIT_FLAGS, unix.NFT_LIMIT_F_INV)
	}
}

func decodeLimit(f *message.Fields) Expression {
	if f.Uint64(unix.NFTA_LIMIT_UNIT) != 1 || f.Uint32(unix.NFTA_LIMIT_TYPE) != unix.NFT_LIMIT_PKTS {
		return nil
	}
	return Limit{
		f.Uint64(unix.NFTA_LIMIT_RATE), f.Uint32(unix.NFTA_LIMIT_BURST),
		f.Uint32(unix.NFTA_LIMIT_FLAGS)&unix.NFT_LIMIT_F_INV != 0,
	}
}

// Log writes the packet to the kernel's log after Prefix, at level "info".
type Log struct{ Prefix string }

const logInfo = 6

func (Log) name() string { return logging }

func (l Log) encode(a *message.Attributes) {
	a.Text(unix.NFTA_LOG_PREFIX, l.Prefix)
	a.Uint32(unix.NFTA_LOG_LEVEL, logInfo)
}

// LogTo hands the beginning of the packet, with Prefix, to whoever listens to a group (package nflog). It
// costs little if nobody does.
type LogTo struct {
	Group  uint16
	Prefix string
}

func (LogTo) name() string { return logging }

func (l LogTo) encode(a *message.Attributes) {
	a.Text(unix.NFTA_LOG_PREFIX, l.Prefix)
	a.Uint16(unix.NFTA_LOG_GROUP, l.Group)
}

func decodeLog(f *message.Fields) Expression {
	if f.Has(unix.NFTA_LOG_GROUP) {
		if f.Has(unix.NFTA_LOG_SNAPLEN) || f.Has(unix.NFTA_LOG_QTHRESHOLD) {
			return nil
		}
		return LogTo{f.Uint16(unix.NFTA_LOG_GROUP), f.Text(unix.NFTA_LOG_PREFIX)}
	}
	if f.Uint32(unix.NFTA_LOG_LEVEL) != logInfo || f.Uint32(unix.NFTA_LOG_FLAGS) != 0 {
		return nil
	}
	return Log{f.Text(unix.NFTA_LOG_PREFIX)}
}
