package envoy

import (
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/types"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

const (
	// RequestStats begins the names of the statistics for all requests:
	// "requests", with the tags "code" and "flags", and "duration".
	RequestStats = "fairway_requests"
	// ServiceStats begins the names of the statistics for Services: "requests",
	// with the tags "cluster" and "code".
	ServiceStats = "fairway_services"

	// maxCodes limits the number of counters by code and flags: a backend may
	// answer with any of 900 codes.
	maxCodes = 100
	// maxServices limits the number of counters by Service and code. A counter
	// that was not used for a while makes room for another.
	maxServices = 200
)

// requestStats count requests by the fields of the access log. Envoy's own
// counters either have no code, or cost kilobytes per cluster even if it is
// unused; these are bounded however many clusters there are. The limits apply per
// listener, because shared scopes crash Envoy 1.40 at shutdown.
func requestStats() []*logv3.AccessLog {
	code := &statsv3.Config_Tag{Name: "code", ValueFormat: "%RESPONSE_CODE%"}
	flags := &statsv3.Config_Tag{Name: "flags", ValueFormat: "%RESPONSE_FLAGS%"}
	cluster := &statsv3.Config_Tag{Name: "cluster", ValueFormat: "%UPSTREAM_CLUSTER_RAW%"}
	return []*logv3.AccessLog{
		statsLogger(&statsv3.Config{
			StatsScope: statsScope(RequestStats, maxCodes),
			Counters:   []*statsv3.Config_Counter{requestsBy(code, flags)},
			// Envoy's own histogram covers only completed requests, and not those
			// that a client gave up waiting for.
			Histograms: []*statsv3.Config_Histogram{{
				Stat: &statsv3.Config_Stat{Name: "duration"},
				Unit: statsv3.Config_Histogram_Milliseconds, ValueFormat: "%DURATION%",
			}},
		}),
		statsLogger(&statsv3.Config{
			StatsScope: statsScope(ServiceStats, maxServices),
			Counters:   []*statsv3.Config_Counter{requestsBy(cluster, code)},
		}),
	}
}

func requestsBy(tags ...*statsv3.Config_Tag) *statsv3.Config_Counter {
	return &statsv3.Config_Counter{
		Stat:       &statsv3.Config_Stat{Name: "requests", Tags: tags},
		ValueFixed: wrapperspb.UInt64(1),
	}
}

func statsScope(name string, counters uint32) *typev3.Scope {
	return &typev3.Scope{
		Prefix:      name,
		MaxCounters: wrapperspb.UInt32(counters), MaxGauges: wrapperspb.UInt32(1), MaxHistograms: wrapperspb.UInt32(1),
		EnableEviction: true,
	}
}

func statsLogger(config *statsv3.Config) *logv3.AccessLog {
	return &logv3.AccessLog{
		Name:       "envoy.access_loggers.stats",
		ConfigType: &logv3.AccessLog_TypedConfig{TypedConfig: typed(config)},
	}
}

// ServiceOf is the Service port of a cluster, if ClusterName made the cluster's
// name.
func ServiceOf(cluster string) (port route.ServicePort, ok bool) {
	endpoints, _, _ := strings.Cut(cluster, " ")
	namespace, rest, ok1 := strings.Cut(endpoints, "/")
	name, number, ok2 := strings.Cut(rest, ":")
	namespace, err1 := url.PathUnescape(namespace)
	name, err2 := url.PathUnescape(name)
	parsed, err3 := strconv.ParseInt(number, 10, 32)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || err3 != nil {
		return port, false
	}
	return route.ServicePort{Service: types.NamespacedName{Namespace: namespace, Name: name}, Port: int32(parsed)}, true
}
