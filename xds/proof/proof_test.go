package proof_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairwaynet/fairway/xds/proof"
)

func TestAStatementIsReadAsItWasWritten(t *testing.T) {
	for _, want := range []proof.Statement{
		{Name: "shop.test", Leaves: []proof.Fingerprint{proof.FingerprintOf([]byte("a"))}},
		{
			Name: "*.shop.test", Leaves: []proof.Fingerprint{proof.FingerprintOf([]byte("rsa")), proof.FingerprintOf([]byte("ec"))},
			Proxy: true, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		},
	} {
		body, err := want.Resource()
		if err != nil {
			t.Fatal(err)
		}
		got, err := proof.Parse(want.Name, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if got.Version() != want.Version() {
			t.Errorf("version %s, want %s", got.Version(), want.Version())
		}
	}
}

func TestTheNameOfAHandshake(t *testing.T) {
	for name, want := range map[string]string{
		"shop.test": "shop.test", "*.shop.test": proof.Label + ".shop.test", proof.NoName: "",
	} {
		if got := (proof.Statement{Name: name}).ServerName(); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// A later controller may say more than this gateway understands; what it cannot
// do without must be right.
func TestWhatIsNoStatementIsRefused(t *testing.T) {
	leaves := func(texts ...any) *structpb.Struct {
		list, err := structpb.NewList(texts)
		if err != nil {
			t.Fatal(err)
		}
		return &structpb.Struct{Fields: map[string]*structpb.Value{"leaves": structpb.NewListValue(list)}}
	}
	good := leaves(proof.FingerprintOf([]byte("x")).String())
	good.Fields["later"] = structpb.NewStringValue("unknown")
	badPrefix := proto.Clone(good).(*structpb.Struct)
	badPrefix.Fields["from"] = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("10.0.0.0/80")}})
	for _, c := range []struct {
		name string
		body proto.Message
		ok   bool
	}{
		{"an unknown field", good, true},
		{"another message", structpb.NewStringValue("x"), false},
		{"nothing", &structpb.Struct{}, false},
		{"no fingerprint", leaves("shop"), false},
		{"half a fingerprint", leaves("abcd"), false},
		{"a number", leaves(7.0), false},
		{"no prefix", badPrefix, false},
	} {
		body, err := anypb.New(c.body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proof.Parse("shop.test", body); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
