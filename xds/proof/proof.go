// Package proof is the language in which a controller asks a gateway's own process, the
// prover, to prove that the Envoy beside it serves a certificate under a server name.
//
// Envoy asks for a certificate at the first handshake that needs it. Its ACK says that it
// has accepted the certificate, not that clients get it. So the prover makes a handshake
// over loopback and compares. It opens a delta stream of its own, for resources of a type of
// ours, one in each response. An ACK says that clients get the certificate, and a NACK says
// which one they get instead.
//
// The package opens no stream and makes no handshake. Its invariant: Parse reads every
// statement that Resource wrote, and a statement that it refuses harms no other. Package
// verifier below it is the controller's end.
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

// Label stands for the label of a client under a wildcard: "*.shop.test" is proved by a
// handshake for this name below shop.test. It is always the same one, because Envoy keeps
// the secret of every name that it was asked for.
const Label = "certificate-proof-of-fairway"

// Fingerprint is the SHA-256 of a certificate as it is on the wire (DER).
type Fingerprint [sha256.Size]byte

// FingerprintOf is the fingerprint of a certificate.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// String is hexadecimal, as browsers and OpenSSL show it without colons.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// LeafOf is the fingerprint of the first certificate of a chain in PEM; false: there is
// none.
func LeafOf(chain []byte) (Fingerprint, bool) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return Fingerprint{}, false
	}
	return FingerprintOf(block.Bytes), true
}

// Statement says that clients get certain certificates.
type Statement struct {
	// Name is a full name, a wildcard "*.parent", or NoName.
	Name string
	// Leaves are the certificates that clients get under the name. If there are
	// several, the client's abilities (RSA or ECDSA) decide which one it gets, and to see
	// one of them is a proof.
	Leaves []Fingerprint
	// Proxy says that a connection begins with a PROXY header. From are the addresses from
	// which connections may come; empty: from anywhere.
	Proxy bool
	From  []netip.Prefix
}

// Version identifies the leaves. It does not depend on the way of the proof.
func (s Statement) Version() string {
	hash := sha256.New()
	for _, leaf := range s.Leaves {
		hash.Write(leaf[:])
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:12])
}

// ServerName is the server name of a handshake that proves the statement; empty: it sends
// none.
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

// Parse reads a body of Resource for a name. It ignores fields that it does not know: a
// later controller may write them.
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

// Age writes the age of a controller's configuration, the time since its last contact with
// the API server. It is the system version of each response.
func Age(age time.Duration) string { return age.Round(time.Millisecond).String() }

// ParseAge reads a text of Age; false: it is something else.
func ParseAge(version string) (time.Duration, bool) {
	age, err := time.ParseDuration(version)
	return age, err == nil && age >= 0
}

// Holds reports whether a certificate is one of the leaves.
func (s Statement) Holds(leaf Fingerprint) bool { return slices.Contains(s.Leaves, leaf) }
