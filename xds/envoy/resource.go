package envoy

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The type URLs of the resources that are sent.
const (
	TypeCluster   = typePrefix + "envoy.config.cluster.v3.Cluster"
	TypeEndpoints = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener  = typePrefix + "envoy.config.listener.v3.Listener"
	TypeRoute     = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	TypeScope     = typePrefix + "envoy.config.route.v3.ScopedRouteConfiguration"
	TypeSecret    = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
)

const typePrefix = "type.googleapis.com/"

// Resource is one xDS resource, ready to be sent.
type Resource struct {
	Type string // a Type… constant
	Name string
	Body []byte // the marshalled message; equal configuration gives equal bytes
}

// named is a message that can become a resource.
type named interface {
	proto.Message
	GetName() string
}

func resource(m named) Resource {
	return Resource{Type: typeURL(m), Name: m.GetName(), Body: marshal(m)}
}

func typeURL(m proto.Message) string {
	return typePrefix + string(m.ProtoReflect().Descriptor().FullName())
}

// marshal is deterministic. It cannot fail: the package writes only valid UTF-8
// into strings, and none of the messages is proto2.
func marshal(m proto.Message) []byte {
	body, _ := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return body
}

// typed wraps the configuration of an extension.
func typed(m proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: typeURL(m), Value: marshal(m)}
}
