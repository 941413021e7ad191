package envoy_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// input is a golden case's in.yaml: the model in few words.
type input struct {
	Settings *inputSettings `json:"settings"`
	Hosts    []inputHost    `json:"hosts"`
	Clusters []inputCluster `json:"clusters"`
	Backends []inputBackend `json:"backends"`

	// LocalBackends are allowed.
	LocalBackends bool `json:"localBackends"`
	// Whole says that the case shows the default connection manager, but for its
	// filters; Filters that it shows nothing but these filters of it, by name.
	Whole   bool     `json:"whole"`
	Filters []string `json:"filters"`

	// Chains are those of server names.
	Chains map[string]inputChain `json:"chains"`
}

// inputClient is "shop/staff-ca required".
type inputClient string

type inputChain struct {
	Client      inputClient   `json:"client"`
	Pair        string        `json:"pair"`
	Passthrough *inputCluster `json:"passthrough"`
	Closed      bool          `json:"closed"`
}

type inputSettings struct {
	Address        string               `json:"address"`
	HTTPSPort      uint16               `json:"httpsPort"`
	TrustedHops    uint32               `json:"trustedHops"`
	EscapedSlashes route.EscapedSlashes `json:"escapedSlashes"`
	MaxRequestBody int64                `json:"maxRequestBody"`

	RepeatedSlashes route.RepeatedSlashes `json:"repeatedSlashes"`
	AccessLog       *bool                 `json:"accessLog"`

	ProxyProtocol         *inputProxyProtocol `json:"proxyProtocol"`
	MaxRequestHeaderCount uint32              `json:"maxRequestHeaderCount"`
	AccessLogFields       []route.LogField    `json:"accessLogFields"`
	RequestHeaders        []string            `json:"accessLogRequestHeaders"`
	ResponseHeaders       []string            `json:"accessLogResponseHeaders"`

	TLS route.TLS `json:"tls"`
	// Listed are the names of the listener of HTTP/3.
	Listed []envoy.Listed `json:"listed"`
}

type inputProxyProtocol struct {
	From     []netip.Prefix `json:"from"`
	Optional bool           `json:"optional"`
}

type inputHost struct {
	Host   string       `json:"host"`
	Client inputClient  `json:"client"`
	Routes []inputRoute `json:"routes"`
}

type inputRoute struct {
	Prefix  string        `json:"prefix"`
	Exact   string        `json:"exact"`
	Cluster *inputCluster `json:"cluster"`
	Status  int           `json:"status"`
	Reason  string        `json:"reason"`
	Body    string        `json:"body"`
	MaxBody int64         `json:"maxBody"`
	HSTS    *route.HSTS   `json:"hsts"`
	Ingress string        `json:"ingress"`

	Redirect bool `json:"redirect"`

	RepeatedSlashes route.RepeatedSlashes `json:"repeatedSlashes"`
}

type inputCluster struct {
	Service  string `json:"service"` // "shop/cart:80"
	Protocol string `json:"protocol"`
	TLS      bool   `json:"tls"`
	DNS      string `json:"dns"`
	DNSPort  int32  `json:"dnsPort"`
	CA       string `json:"ca"` // "shop/roots"
	SNI      string `json:"sni"`

	EndpointsStay bool `json:"endpointsStay"`
	PerClient     bool `json:"perClient"`
}

type inputBackend struct {
	Service   string          `json:"service"`
	Endpoints []inputEndpoint `json:"endpoints"`
}

type inputEndpoint struct {
	Address netip.AddrPort `json:"address"`
	Zone    string         `json:"zone"`
}

func (s inputSettings) apply(to route.Settings) route.Settings {
	if s.Address != "" {
		to.Address = s.Address
	}
	if s.EscapedSlashes != "" {
		to.EscapedSlashes = s.EscapedSlashes
	}
	if s.RepeatedSlashes != "" {
		to.RepeatedSlashes = s.RepeatedSlashes
	}
	if s.AccessLog != nil {
		to.AccessLog = *s.AccessLog
	}
	if p := s.ProxyProtocol; p != nil {
		to.ProxyProtocol = &route.ProxyProtocol{From: p.From, Optional: p.Optional}
	}
	if s.MaxRequestHeaderCount != 0 {
		to.MaxRequestHeaderCount = s.MaxRequestHeaderCount
	}
	to.AccessLogFields, to.AccessLogRequestHeaders, to.AccessLogResponseHeaders = s.AccessLogFields, s.RequestHeaders, s.ResponseHeaders
	to.TLS = s.TLS
	to.HTTPSPort, to.TrustedHops, to.MaxRequestBody = s.HTTPSPort, s.TrustedHops, s.MaxRequestBody
	return to
}

func (in input) hosts() []*route.Host {
	var hosts []*route.Host
	for _, h := range in.Hosts {
		out := &route.Host{Key: route.Key{Gateway: route.DefaultGateway, Host: route.Hostname(h.Host)}}
		if h.Client != "" {
			policy := h.Client.policy()
			out.Client = &policy
		}
		for _, r := range h.Routes {
			out.Routes = append(out.Routes, r.route())
		}
		hosts = append(hosts, out)
	}
	return hosts
}

func (in input) chains() map[route.Hostname]route.Chain {
	chains := make(map[route.Hostname]route.Chain)
	for name, c := range in.Chains {
		chain := route.Chain{Client: c.Client.policy(), Pair: route.Hostname(c.Pair), Closed: c.Closed}
		if c.Passthrough != nil {
			chain.Passthrough = c.Passthrough.cluster()
		}
		chains[route.Hostname(name)] = chain
	}
	return chains
}

func (c inputClient) policy() route.ClientPolicy {
	secret, demand, _ := strings.Cut(string(c), " ")
	namespace, name, _ := strings.Cut(secret, "/")
	return route.ClientPolicy{
		CA: types.NamespacedName{Namespace: namespace, Name: name}, Required: demand == "required",
	}
}

func (r inputRoute) route() route.Route {
	out := route.Route{
		Match:  route.Match{Kind: route.Prefix, Path: r.Prefix},
		Status: r.Status, Reason: r.Reason, Body: r.Body, MaxBody: r.MaxBody, HSTS: r.HSTS, Redirect: r.Redirect,
		RepeatedSlashes: r.RepeatedSlashes,
	}
	if r.Exact != "" {
		out.Match = route.Match{Kind: route.Exact, Path: r.Exact}
	}
	if r.Cluster != nil {
		c := r.Cluster.cluster()
		out.Cluster = &c
	}
	out.Origin.Namespace, out.Origin.Name, _ = strings.Cut(r.Ingress, "/")
	return out
}

func (c inputCluster) cluster() route.Cluster {
	out := route.Cluster{
		Port: servicePort(c.Service), TLS: c.TLS, DNS: c.DNS, DNSPort: c.DNSPort, SNI: c.SNI,
		EndpointsStay: c.EndpointsStay, PerClient: c.PerClient,
	}
	out.Authority.Namespace, out.Authority.Name, _ = strings.Cut(c.CA, "/")
	for _, p := range []route.Protocol{route.HTTP1, route.HTTP2, route.HTTPAuto} {
		if p.String() == c.Protocol {
			out.Protocol = p
		}
	}
	return out
}

// clusters of a case are its own and those of its routes.
func (in input) clusters() []route.Cluster {
	var clusters []route.Cluster
	for _, c := range in.Clusters {
		clusters = append(clusters, c.cluster())
	}
	for _, h := range in.hosts() {
		for _, r := range h.Routes {
			if r.Cluster != nil {
				clusters = append(clusters, *r.Cluster)
			}
		}
	}
	return clusters
}

func (in input) backends() []route.Backend {
	var backends []route.Backend
	for _, b := range in.Backends {
		out := route.Backend{Port: servicePort(b.Service)}
		for _, e := range b.Endpoints {
			out.Endpoints = append(out.Endpoints, route.Endpoint(e))
		}
		backends = append(backends, out)
	}
	return backends
}

// servicePort reads "shop/cart:80".
func servicePort(s string) route.ServicePort {
	name, number, _ := strings.Cut(s, ":")
	n, err := strconv.ParseInt(number, 10, 32)
	namespace, service, ok := strings.Cut(name, "/")
	if err != nil || !ok {
		panic(fmt.Sprintf("%q is no Service port", s))
	}
	return route.ServicePort{Service: types.NamespacedName{Namespace: namespace, Name: service}, Port: int32(n)}
}

// anAddress is where nobody listens.
var anAddress = netip.MustParseAddrPort("127.0.0.1:9")
