// Package proof is what a controller asks a gateway's own process to prove: that
// the Envoy beside it serves a certificate under a server name.
//
// Envoy asks for a certificate at the first handshake that wants it, and ACKs
// that it has accepted it; which one a client gets is not in any ACK. So the
// process makes a handshake over loopback and compares. It asks on a delta stream
// of its own for resources of a type of ours, one response each; an ACK says that
// the certificate was seen, a NACK what was seen instead.
//
// The package is the two ends' common language and nothing else: it opens no
// stream and makes no handshake. Its invariant: Parse reads what Resource wrote,
// and what it refuses costs that statement alone.
package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Type is the type URL of the resources. It names no message: a body is a
// google.protobuf.Struct, so that no code has to be generated for it.
const Type = "type.fairway.dev/fairway.v1.ServedCertificate"

// NoName is the name of the certificate for clients that send no server name.
const NoName = "*"

// Label stands for the label of a client under a wildcard: "*.shop.test" is
// proved by a handshake for this name below shop.test. It is always the same one,
// because Envoy keeps what it was ever asked for.
const Label = "certificate-proof-of-fairway"

// Fingerprint is the SHA-256 of a certificate as it is on the wire (DER).
type Fingerprint [sha256.Size]byte

// FingerprintOf is that of a certificate.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// String is hexadecimal, as browsers and OpenSSL show it without colons.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// LeafOf is that of the first certificate of a chain in PEM; false: there is
// none.
func LeafOf(chain []byte) (Fingerprint, bool) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return Fingerprint{}, false
	}
	return FingerprintOf(block.Bytes), true
}

// Statement is that clients get certain certificates.
type Statement struct {
	// Name is a full name, a wildcard "*.parent", or NoName.
	Name string
	// Leaves are the certificates that clients get under the name. Where there
	// are several, what a client gets depends on what it can (RSA or ECDSA), and
	// to have seen one of them is a proof.
	Leaves []Fingerprint
	// Proxy says that a connection begins with a PROXY header, and From from
	// where one may come; empty: from anywhere.
	Proxy bool
	From  []netip.Prefix
}

// Version stands for what is stated of the name; it does not depend on how it
// can be proved.
func (s Statement) Version() string {
	hash := sha256.New()
	for _, leaf := range s.Leaves {
		hash.Write(leaf[:])
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:12])
}

// ServerName is what a handshake that proves the statement sends; empty: none.
func (s Statement) ServerName() string {
	if s.Name == NoName {
		return ""
	}
	return NameOf(s.Name)
}

// NameOf is the full name that stands for a name or a wildcard.
func NameOf(name string) string {
	if parent, isWildcard := strings.CutPrefix(name, "*."); isWildcard {
		return Label + "." + parent
	}
	return name
}

// The fields of a body.
const (
	fieldLeaves = "leaves"
	fieldProxy  = "proxy"
	fieldFrom   = "from"
)

// Resource is the statement's body on the wire.
func (s Statement) Resource() (*anypb.Any, error) {
	list := func(texts []string) *structpb.Value {
		values := make([]*structpb.Value, len(texts))
		for i, text := range texts {
			values[i] = structpb.NewStringValue(text)
		}
		return structpb.NewListValue(&structpb.ListValue{Values: values})
	}
	body := &structpb.Struct{Fields: map[string]*structpb.Value{
		fieldLeaves: list(texts(s.Leaves)),
		fieldProxy:  structpb.NewBoolValue(s.Proxy),
		fieldFrom:   list(texts(s.From)),
	}}
	packed, err := anypb.New(body)
	if err != nil {
		return nil, fmt.Errorf("state the certificate of %q: %w", s.Name, err)
	}
	return packed, nil
}

func texts[T fmt.Stringer](values []T) []string {
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = value.String()
	}
	return all
}

// Parse reads what Resource wrote of a name. Fields that it does not know are
// for others.
func Parse(name string, body *anypb.Any) (Statement, error) {
	var fields structpb.Struct
	if err := body.UnmarshalTo(&fields); err != nil {
		return Statement{}, fmt.Errorf("read the statement of %q: %w", name, err)
	}
	s := Statement{Name: name, Proxy: fields.GetFields()[fieldProxy].GetBoolValue()}
	for _, value := range fields.GetFields()[fieldLeaves].GetListValue().GetValues() {
		var leaf Fingerprint
		raw, err := hex.DecodeString(value.GetStringValue())
		if err != nil || len(raw) != len(leaf) {
			return Statement{}, fmt.Errorf("read the statement of %q: a fingerprint is %q", name, value.GetStringValue())
		}
		copy(leaf[:], raw)
		s.Leaves = append(s.Leaves, leaf)
	}
	for _, value := range fields.GetFields()[fieldFrom].GetListValue().GetValues() {
		prefix, err := netip.ParsePrefix(value.GetStringValue())
		if err != nil {
			return Statement{}, fmt.Errorf("read the statement of %q: %w", name, err)
		}
		s.From = append(s.From, prefix)
	}
	if len(s.Leaves) == 0 {
		return Statement{}, fmt.Errorf("read the statement of %q: no fingerprint", name)
	}
	return s, nil
}

// Age is how a controller says, as the system version of each response, how old
// its picture may be: for how long it has not been in contact with the API server.
func Age(age time.Duration) string { return age.Round(time.Millisecond).String() }

// ParseAge reads what Age wrote; false: it is something else.
func ParseAge(version string) (time.Duration, bool) {
	age, err := time.ParseDuration(version)
	return age, err == nil && age >= 0
}

// Holds reports whether a certificate is one of those that clients get.
func (s Statement) Holds(leaf Fingerprint) bool { return slices.Contains(s.Leaves, leaf) }
