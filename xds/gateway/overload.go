package gateway

import (
	"cmp"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	injectedv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

const (
	heapMonitor        = "envoy.resource_monitors.fixed_heap"
	connectionsMonitor = "envoy.resource_monitors.injected_resource"

	// trackedStream is the power of two of the bytes from which on a stream may be reset. A
	// response that its client does not read holds 64 KiB.
	trackedStream = 15
	// refresh is how often Envoy looks at its heap; each time a worker resets up to
	// 50 streams.
	refresh = 50 * time.Millisecond
	// minTimeout is how long a client may be idle once the heap is almost full.
	minTimeout = 2 * time.Second
)

// overload bounds connections always, and memory if MaxHeapBytes is set. As the heap fills,
// the clients that fill it pay first: connections without requests and requests in which
// nothing moves are ended sooner and sooner, then the streams that hold the most are reset.
// Other clients are turned away only if that does not help. As connections come near their
// bound, idle ones are ended sooner, too, so that no client can hold them all.
func (b Bootstrap) overload(dir string) *overloadv3.OverloadManager {
	manager := &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(refresh),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			monitor("envoy.resource_monitors.global_downstream_max_connections", &connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: cmp.Or(b.MaxConnections, DefaultMaxConnections),
			}),
			monitor(connectionsMonitor, &injectedv3.InjectedResourceConfig{Filename: filepath.Join(dir, pressureFile)}),
		},
	}
	crowded := between(connectionsMonitor, 0.90, 1)
	if b.MaxHeapBytes == 0 {
		manager.Actions = []*overloadv3.OverloadAction{reduceTimeouts(crowded)}
		return manager
	}
	manager.ResourceMonitors = append(manager.ResourceMonitors,
		monitor(heapMonitor, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: b.MaxHeapBytes}))
	manager.Actions = []*overloadv3.OverloadAction{
		action("envoy.overload_actions.shrink_heap", above(0.80)),
		reduceTimeouts(crowded, between(heapMonitor, 0.75, 0.85)),
		action("envoy.overload_actions.reset_high_memory_stream", between(heapMonitor, 0.85, 0.95)),
		action("envoy.overload_actions.disable_http_keepalive", above(0.95)),
		action("envoy.overload_actions.stop_accepting_requests", above(0.98)),
	}
	manager.LoadshedPoints = []*overloadv3.LoadShedPoint{
		point("envoy.load_shed_points.tcp_listener_accept", 0.95, 0.99),
		point("envoy.load_shed_points.http_connection_manager_decode_headers", 0.95, 0.99),
		point("envoy.load_shed_points.http2_server_go_away_on_dispatch", 0.95, 0.99),
	}
	manager.BufferFactoryConfig = &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: trackedStream}
	return manager
}

func monitor(name string, config proto.Message) *overloadv3.ResourceMonitor {
	return &overloadv3.ResourceMonitor{
		Name:       name,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: typed(config)},
	}
}

func action(name string, triggers ...*overloadv3.Trigger) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: name, Triggers: triggers}
}

// reduceTimeouts shortens the time that a client may be idle.
func reduceTimeouts(triggers ...*overloadv3.Trigger) *overloadv3.OverloadAction {
	var scales []*overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer
	for _, timer := range []overloadv3.ScaleTimersOverloadActionConfig_TimerType{
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_CONNECTION_IDLE,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_IDLE,
		overloadv3.ScaleTimersOverloadActionConfig_HTTP_DOWNSTREAM_STREAM_FLUSH,
		overloadv3.ScaleTimersOverloadActionConfig_TRANSPORT_SOCKET_CONNECT,
	} {
		scales = append(scales, &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer{
			Timer:          timer,
			OverloadAdjust: &overloadv3.ScaleTimersOverloadActionConfig_ScaleTimer_MinTimeout{MinTimeout: durationpb.New(minTimeout)},
		})
	}
	reduce := action("envoy.overload_actions.reduce_timeouts", triggers...)
	reduce.TypedConfig = typed(&overloadv3.ScaleTimersOverloadActionConfig{TimerScaleFactors: scales})
	return reduce
}

func point(name string, from, to float64) *overloadv3.LoadShedPoint {
	return &overloadv3.LoadShedPoint{Name: name, Triggers: []*overloadv3.Trigger{between(heapMonitor, from, to)}}
}

// above triggers in full once the heap is that full.
func above(share float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{
		Name:         heapMonitor,
		TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: share}},
	}
}

// between triggers more and more as a resource fills.
func between(resource string, from, to float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{
		Name:         resource,
		TriggerOneof: &overloadv3.Trigger_Scaled{Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: from, SaturationThreshold: to}},
	}
}

// stats are the statistics of the gateway as a whole. Statistics of each cluster and shard
// would be most of the memory of an Envoy with 10,000 hosts. The access log has the
// requests of a single host.
func stats() *metricsv3.StatsConfig {
	kept := []*matcherv3.StringMatcher{
		// "http.<listener>.<name>", without the scopes below for each shard.
		{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: `http\.[^.]+\.[a-z0-9_]+`}}},
	}
	kept = append(kept, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: setAsideStat}})
	for _, prefix := range []string{
		"cluster." + xdsCluster + ".", "cluster_manager.", "control_plane.", "fairway_", "http1.", "http2.",
		"listener.", "listener_manager.", "main_thread.", "overload.", "server.", "workers.",
	} {
		kept = append(kept, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{
		StatsMatcher: &metricsv3.StatsMatcher_InclusionList{InclusionList: &matcherv3.ListStringMatcher{Patterns: kept}},
	}}
}
