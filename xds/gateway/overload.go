package gateway

import (
	"cmp"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

const heapMonitor = "envoy.resource_monitors.fixed_heap"

// overload bounds connections always and memory when it is told how much there
// is. As the heap fills, Envoy first gives back what it holds in reserve, then
// shortens what clients may keep open, then serves those it has and takes no
// more, and at last resets the streams that hold the most.
func (b Bootstrap) overload() *overloadv3.OverloadManager {
	manager := &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			monitor("envoy.resource_monitors.global_downstream_max_connections", &connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: cmp.Or(b.MaxConnections, DefaultMaxConnections),
			}),
		},
	}
	if b.MaxHeapBytes == 0 {
		return manager
	}
	manager.ResourceMonitors = append(manager.ResourceMonitors,
		monitor(heapMonitor, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: b.MaxHeapBytes}))
	manager.Actions = []*overloadv3.OverloadAction{
		action("envoy.overload_actions.shrink_heap", above(0.85)),
		action("envoy.overload_actions.disable_http_keepalive", above(0.90)),
		action("envoy.overload_actions.stop_accepting_requests", above(0.95)),
		action("envoy.overload_actions.reset_high_memory_stream", between(0.93, 0.98)),
	}
	manager.LoadshedPoints = []*overloadv3.LoadShedPoint{
		point("envoy.load_shed_points.tcp_listener_accept", 0.92, 0.97),
		point("envoy.load_shed_points.http_connection_manager_decode_headers", 0.92, 0.97),
		point("envoy.load_shed_points.http2_server_go_away_on_dispatch", 0.93, 0.98),
	}
	// Streams that hold less than 1 MiB are not worth a reset.
	manager.BufferFactoryConfig = &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: 20}
	return manager
}

func monitor(name string, config proto.Message) *overloadv3.ResourceMonitor {
	return &overloadv3.ResourceMonitor{
		Name:       name,
		ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: typed(config)},
	}
}

func action(name string, trigger *overloadv3.Trigger) *overloadv3.OverloadAction {
	return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{trigger}}
}

func point(name string, from, to float64) *overloadv3.LoadShedPoint {
	return &overloadv3.LoadShedPoint{Name: name, Triggers: []*overloadv3.Trigger{between(from, to)}}
}

// above triggers in full once the heap is that full.
func above(share float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{
		Name:         heapMonitor,
		TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: share}},
	}
}

// between triggers more and more often as the heap fills.
func between(from, to float64) *overloadv3.Trigger {
	return &overloadv3.Trigger{
		Name:         heapMonitor,
		TriggerOneof: &overloadv3.Trigger_Scaled{Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: from, SaturationThreshold: to}},
	}
}

// stats are those of the gateway as a whole. Those of each cluster and shard
// would be most of the memory of an Envoy with 10,000 hosts; what users ask of
// a single host is in the access log.
func stats() *metricsv3.StatsConfig {
	kept := []*matcherv3.StringMatcher{
		// "http.<listener>.<name>", without the scopes below for each shard.
		{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: `http\.[^.]+\.[a-z0-9_]+`}}},
	}
	for _, prefix := range []string{
		"cluster." + xdsCluster + ".", "cluster_manager.", "control_plane.", "http1.", "http2.",
		"listener.", "listener_manager.", "main_thread.", "overload.", "server.", "workers.",
	} {
		kept = append(kept, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{
		StatsMatcher: &metricsv3.StatsMatcher_InclusionList{InclusionList: &matcherv3.ListStringMatcher{Patterns: kept}},
	}}
}
