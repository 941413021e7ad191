package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// maxSocketPath is what Linux allows for the path of a Unix socket.
const maxSocketPath = 107

// Bootstrap is the configuration that an Envoy needs before it can ask for the rest.
type Bootstrap struct {
	// Gateway is the gateway whose configuration Envoy asks for: its node's cluster.
	Gateway string
	// Node names this Envoy among those of its gateway.
	Node string
	// XDS is where the configuration comes from.
	XDS XDS
	// ACME are the responders of TLS-ALPN-01: each "host:port", or one "unix:path".
	// Empty: there are none.
	ACME []string
	// Admin is the path of the Unix socket on which Envoy's admin interface
	// shall listen. Its folder should be private.
	Admin string
	// MaxConnections bounds the connections of all clients together; 0 stands
	// for DefaultMaxConnections. Beyond it new ones are refused.
	MaxConnections int64
	// MaxHeapBytes bounds Envoy's heap: near it, Envoy gives memory back, then sheds load.
	// 0: no bound.
	MaxHeapBytes uint64
}

// DefaultMaxConnections is many for one gateway, and needs a few hundred MiB.
const DefaultMaxConnections = 50_000

// XDS is where the xDS servers are: a Unix socket, or hosts and ports with TLS.
type XDS struct {
	Socket string // path; wins over Addresses
	// Addresses are each "host:port", where host is an IP address or a name,
	// which may have several. Any of them serves: when the one that Envoy is
	// connected to is gone, it goes to the next.
	Addresses []string
	// TLS are the files of mutual TLS; nil: plain text, which is for loopback only.
	TLS *TLS
}

// TLS are PEM files, read again whenever something moves in their folders, as
// mounted Secrets do.
type TLS struct {
	CA, Certificate, Key string
	// ServerName is the DNS name that the server's certificate must carry.
	ServerName string
}

// Message is the bootstrap as Envoy's message, for files in the folder dir.
func (b Bootstrap) Message(dir string) (*bootstrapv3.Bootstrap, error) {
	if b.Gateway == "" || b.Node == "" {
		return nil, errors.New("a gateway and a node must be named")
	}
	if len(b.Admin) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path has more than the %d bytes that a socket may have", b.Admin, maxSocketPath)
	}
	for _, text := range b.strings(dir) {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("%q is not UTF-8", text)
		}
	}
	clusters, err := b.clusters(dir)
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.Bootstrap{
		Node:             &corev3.Node{Id: b.Node, Cluster: b.Gateway},
		StaticResources:  &bootstrapv3.Bootstrap_StaticResources{Clusters: clusters},
		DynamicResources: dynamicResources(),
		Admin: &bootstrapv3.Admin{
			Address:               pipe(b.Admin, 0o600),
			IgnoreGlobalConnLimit: true, // a full Envoy must still be drained
		},
		LayeredRuntime:      runtime(),
		OverloadManager:     b.overload(dir),
		StatsConfig:         stats(),
		StatsFlushInterval:  durationpb.New(10 * time.Second),
		StatsEviction:       &bootstrapv3.Bootstrap_StatsEvictionInterval{StatsEvictionInterval: durationpb.New(10 * time.Minute)},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
	}, nil
}

// clusters are the static ones.
func (b Bootstrap) clusters(dir string) ([]*clusterv3.Cluster, error) {
	xds, err := b.XDS.cluster(dir)
	if err != nil || len(b.ACME) == 0 {
		return []*clusterv3.Cluster{xds}, err
	}
	acme, err := b.acme()
	return []*clusterv3.Cluster{xds, acme}, err
}

// strings are all strings that come from outside.
func (b Bootstrap) strings(dir string) []string {
	all := []string{dir, b.Gateway, b.Node, b.XDS.Socket, b.Admin}
	all = append(append(all, b.XDS.Addresses...), b.ACME...)
	if t := b.XDS.TLS; t != nil {
		all = append(all, t.CA, t.Certificate, t.Key, t.ServerName)
	}
	return all
}

// Write writes the bootstrap and the files that it names into a folder and
// returns the bootstrap's path.
func (b Bootstrap) Write(dir string) (string, error) {
	message, err := b.Message(dir)
	if err != nil {
		return "", fmt.Errorf("make bootstrap: %w", err)
	}
	files := map[string]proto.Message{"bootstrap.json": message}
	if b.XDS.Socket == "" && b.XDS.TLS != nil {
		files[certificateFile], files[authorityFile] = b.XDS.TLS.secrets()
	}
	for name, message := range files {
		text, err := render(message)
		if err != nil {
			return "", fmt.Errorf("render %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", fmt.Errorf("write bootstrap: %w", err)
		}
	}
	return filepath.Join(dir, "bootstrap.json"), writePressure(dir, 0)
}

// render is a message as JSON that people can read. protojson's own indentation varies
// from build to build on purpose.
func render(message proto.Message) ([]byte, error) {
	compact, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, compact, "", "  "); err != nil {
		return nil, err
	}
	text.WriteByte('\n')
	return text.Bytes(), nil
}

// dynamicResources ask for listeners and clusters on one stream. Envoy waits for them
// without a timeout: a gateway without routes is not ready.
func dynamicResources() *bootstrapv3.Bootstrap_DynamicResources {
	ads := func() *corev3.ConfigSource {
		return &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			InitialFetchTimeout:   durationpb.New(0),
		}
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: ads(),
		CdsConfig: ads(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: xdsCluster,
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(100 * time.Millisecond),
						MaxInterval:  durationpb.New(5 * time.Second),
					}},
				}},
			}},
		},
	}
}

// runtime is the only layer of runtime settings, which cannot be changed later. Envoy
// disconnects a client that resets most of its young streams, and takes one request of a
// connection at a time, so that no client keeps a worker from the others (HTTP/2 rapid
// reset, CVE-2023-44487). The data of a chunk must end with a line end and nothing else.
// Requests that wait for a connection count when the endpoint with the fewest is chosen:
// otherwise an unreachable endpoint would have the fewest.
func runtime() *bootstrapv3.LayeredRuntime {
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "static",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{
			Fields: map[string]*structpb.Value{
				"overload.premature_reset_total_stream_count":                       structpb.NewNumberValue(500),
				"overload.premature_reset_min_stream_lifetime_seconds":              structpb.NewNumberValue(1),
				"http.max_requests_per_io_cycle":                                    structpb.NewNumberValue(1),
				"envoy.reloadable_features.strict_chunk_parsing":                    structpb.NewBoolValue(true),
				"envoy.reloadable_features.least_request_lb_count_pending_requests": structpb.NewBoolValue(true),
			},
		}},
	}}}
}

func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

// typed packs a message. It cannot fail: Message has checked that strings from outside are
// UTF-8.
func typed(message proto.Message) *anypb.Any {
	packed, err := anypb.New(message)
	if err != nil {
		return &anypb.Any{}
	}
	return packed
}
