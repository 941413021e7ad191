package envoy

import (
	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
)

// connectionsFilter keeps requests away from connections to backends that another
// client has authenticated: some backends take whoever uses a connection for who
// authenticated it (NTLM, and Kerberos by Negotiate; RFC 4559 says that it breaks
// behind proxies that share connections).
const connectionsFilter = "fairway.connections"

// clientConnection names the connection of a client, and the client on it: a proxy
// in front of us may share a connection, too. An object by that name that can be
// hashed, and is shared with the upstream, is part of what Envoy keeps pools of
// connections by.
const clientConnection = "fairway.client-connection"

// connections sets requests apart that authenticate in such a way; the route may
// set all apart. What follows on such a connection to the backend is of the same
// connection of a client.
func connections() *compositev3.Composite {
	bound := inHeader("authorization", matching(connectionBound))
	return &compositev3.Composite{Matcher: when(bound, execute("own", ownConnection()))}
}

// connectionBound is what Authorization begins with, in any case and in any of
// several headers (Envoy joins them by commas), where it authenticates a
// connection: NTLM, Negotiate and its successor, CredSSP of Windows Remote
// Management.
const connectionBound = `(?i)(?:\C*,)?\s*(?:ntlm|negotiate|nego2|kerberos|credssp)\C*`

func connectionsPerRoute() *anypb.Any {
	return typed(&compositev3.CompositePerRoute{Matcher: always("own", ownConnection())})
}

func ownConnection() *setstatev3.Config {
	return &setstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{{
		Key:                &statev3.FilterStateValue_ObjectKey{ObjectKey: clientConnection},
		FactoryKey:         "envoy.hashable_string",
		SharedWithUpstream: statev3.FilterStateValue_ONCE,
		Value: &statev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{
				TextFormatSource: text("%CONNECTION_ID% %DOWNSTREAM_REMOTE_ADDRESS%"),
			},
		}},
	}}}
}

// separate has a cluster keep connections for each of a client's. A client goes to
// one endpoint by them, which else would not know it.
func separate(cluster *clusterv3.Cluster) {
	cluster.ConnectionPoolPerDownstreamConnection = true
	cluster.LbPolicy = clusterv3.Cluster_RING_HASH
}

// byConnection chooses the endpoint by the connection of a client.
func byConnection() []*routev3.RouteAction_HashPolicy {
	return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
		FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: clientConnection},
	}}}
}
