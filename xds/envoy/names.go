package envoy

import (
	"net/url"
	"strconv"

	"github.com/fairwaynet/fairway/xds/route"
)

// EndpointsName is the name of the EDS resource of a Service port. All clusters
// of the port share it: "shop/cart:80".
func EndpointsName(p route.ServicePort) string {
	return url.PathEscape(p.Service.Namespace) + "/" + url.PathEscape(p.Service.Name) +
		":" + strconv.Itoa(int(p.Port))
}

// ClusterName is the name of a cluster. It is the Service port, and whatever
// differs from plain HTTP/1.1 to published endpoints: "shop/cart:80",
// "shop/cart:80 h2", "shop/pay:443 tls-auto ca=shop/roots sni=pay.test",
// "shop/bank:80 dns=bank.example port=8080", "shop/mail:80 per-client". Different
// clusters always have different names, because each part is escaped.
func ClusterName(c route.Cluster) string {
	name := EndpointsName(c.Port) + policySuffix(c)
	if c.DNS != "" {
		name += " dns=" + url.PathEscape(c.DNS)
	}
	if c.DNSPort != 0 {
		name += " port=" + strconv.Itoa(int(c.DNSPort))
	}
	if c.PerClient {
		name += " per-client"
	}
	if c.Authority != (route.Authority{}) {
		name += " ca=" + url.PathEscape(c.Authority.Namespace) + "/" + url.PathEscape(c.Authority.Name)
	}
	if c.SNI != "" {
		name += " sni=" + url.PathEscape(c.SNI)
	}
	if c.EndpointsStay {
		name += " endpoints=stay"
	}
	return name
}

func policySuffix(c route.Cluster) string {
	switch {
	case c.TLS && c.Protocol == route.HTTP2:
		return " tls-h2"
	case c.TLS && c.Protocol == route.HTTPAuto:
		return " tls-auto"
	case c.TLS:
		return " tls"
	case c.Protocol == route.HTTP2:
		return " h2"
	case c.Protocol == route.HTTPAuto:
		return " auto"
	default:
		return ""
	}
}
