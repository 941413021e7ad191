package server

import (
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that ours extends
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// GRPCOptions are the options of a gRPC server for Envoys.
//
// Envoy asks for certificates by the server name that a client sent, whatever its
// bytes are. Go's protobuf rejects a message with text that is not UTF-8. Without these
// options any client could end an Envoy's stream with one packet, and again after each
// reconnect.
func GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})}
}

// codec removes names that are not UTF-8 from requests. They cannot be answered: Envoy
// rejects such text as well. The handshake for such a name ends by its timeout.
type codec struct{ encoding.CodecV2 }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, into any) error {
	err := c.CodecV2.Unmarshal(data, into)
	request, ok := into.(*discoveryv3.DeltaDiscoveryRequest)
	if err == nil || !ok {
		return err
	}
	text, ok := withoutBadNames(data.Materialize())
	if !ok {
		return err
	}
	proto.Reset(request)
	return proto.Unmarshal(text, request)
}

// The fields of DeltaDiscoveryRequest that hold names.
const (
	subscribeField   protowire.Number = 3
	unsubscribeField protowire.Number = 4
)

// withoutBadNames returns a request without the names that are not UTF-8.
func withoutBadNames(request []byte) ([]byte, bool) {
	var good []byte
	for len(request) > 0 {
		number, kind, n := protowire.ConsumeTag(request)
		if n < 0 {
			return nil, false
		}
		m := protowire.ConsumeFieldValue(number, kind, request[n:])
		if m < 0 {
			return nil, false
		}
		field := request[:n+m]
		request = request[n+m:]
		if number == subscribeField || number == unsubscribeField {
			if value, _ := protowire.ConsumeBytes(field[n:]); !utf8.Valid(value) {
				continue
			}
		}
		good = append(good, field...)
	}
	return good, true
}
