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

// connectionsFilter keeps a client's requests off backend connections that
// another client has authenticated. With NTLM, and Kerberos by Negotiate, some
// backends take every request on a connection for one of the user who
// authenticated it (RFC 4559 says that this breaks behind proxies that share
// connections).
const connectionsFilter = "fairway.connections"

// clientConnection names the connection of a client, and the client on it,
// because a proxy in front of the gateway may share a connection, too. Envoy
// makes a filter state object part of the connection pool's key if it can be
// hashed and is shared with the upstream.
const clientConnection = "fairway.client-connection"

// connections gives requests that authenticate their connection a backend
// connection of their own. A route may do so for all requests. Later requests on
// such a backend connection come from the same client connection.
func connections() *compositev3.Composite {
	bound := inHeader("authorization", matching(connectionBound))
	return &compositev3.Composite{Matcher: when(bound, execute("own", ownConnection()))}
}

// connectionBound matches an Authorization header that authenticates a
// connection: NTLM, Negotiate and its successor, and CredSSP of Windows Remote
// Management. It ignores case and finds the scheme in any of several headers,
// which Envoy joins with commas.
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

// separate makes a cluster keep connection pools per client connection. A client
// connection always uses the same endpoint, because another endpoint would not
// know the client.
func separate(cluster *clusterv3.Cluster) {
	cluster.ConnectionPoolPerDownstreamConnection = true
	cluster.LbPolicy = clusterv3.Cluster_RING_HASH
}

// byConnection chooses the endpoint by the client's connection.
func byConnection() []*routev3.RouteAction_HashPolicy {
	return []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
		FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: clientConnection},
	}}}
}
