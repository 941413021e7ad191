package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/testing/protocmp"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairwaynet/fairway/xds/server"
)

// A server name is whatever bytes a client sends: those that are no text cost no
// Envoy its stream.
func TestNamesThatAreNoTextAreLeftOut(t *testing.T) {
	want := &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:                  "type",
		ResourceNamesSubscribe:   []string{"a.test", "b.test"},
		ResourceNamesUnsubscribe: []string{"c.test"},
		ResponseNonce:            "7",
	}
	body, err := proto.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []protowire.Number{3, 4, 3} {
		body = protowire.AppendTag(body, field, protowire.BytesType)
		body = protowire.AppendString(body, "\xff\xc0.test")
	}
	got := &discoveryv3.DeltaDiscoveryRequest{}
	if err := server.Unmarshal(body, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if err := server.Unmarshal([]byte{0x0a, 0xff}, got); err == nil {
		t.Error("what is no message is taken")
	}
}
