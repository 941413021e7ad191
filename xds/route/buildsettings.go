package route

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/api/v1alpha1"
)

// The bounds of settings. The custom resource's schema repeats them where it can.
const (
	maxTrustedHops    = 16
	maxHeaderCount    = 10_000
	maxHeaderName     = 64
	maxHeaderSize     = 8 << 20 // bytes
	leastIdle         = time.Second
	leastConnect      = 10 * time.Millisecond
	leastUpstreamIdle = 100 * time.Millisecond
	leastEjection     = time.Second
)

// BuildSettings returns base, overridden by the fields of spec, and the faults of
// spec as Problems of the object config. A field that is wrong stays as in base. The
// caller decides whether the others then count.
func BuildSettings(base Settings, config problem.Object, spec v1alpha1.GatewayConfigSpec) (Settings, []problem.Problem) {
	b := settingsBuilder{Settings: base}
	b.listen(base, spec)
	b.public(deref(spec.PublicPorts))
	b.proxyProtocol(spec.ProxyProtocol)
	b.identity(spec)
	b.timeouts(deref(spec.Timeouts))
	b.limits(deref(spec.Limits))
	b.outlierDetection(deref(spec.OutlierDetection))
	b.accessLog(deref(spec.AccessLog))
	if name := spec.Issuer; name != nil && len(validation.IsDNS1123Subdomain(*name)) > 0 {
		b.wrong("issuer", "%q is not the name of an Issuer", *name)
	}
	b.tls(spec.TLS)
	var problems []problem.Problem
	for _, wrong := range b.faults {
		problems = append(problems, wrong.in(config, "spec"))
	}
	return b.Settings, problem.Sort(problems)
}

// settingsBuilder is the settings so far, and the faults.
type settingsBuilder struct {
	Settings
	faults []fault
}

func (b *settingsBuilder) wrong(field, format string, args ...any) {
	b.faults = append(b.faults, fault{field, ReasonInvalidSetting, fmt.Sprintf(format, args...)})
}

func (b *settingsBuilder) listen(base Settings, spec v1alpha1.GatewayConfigSpec) {
	if text := spec.Address; text != nil {
		if address, err := netip.ParseAddr(*text); err != nil || address.Zone() != "" {
			b.wrong("address", "%q is no IP address", *text)
		} else {
			b.Address = *text
		}
	}
	number(b, "httpPort", spec.HTTPPort, 0, math.MaxUint16, &b.HTTPPort)
	number(b, "httpsPort", spec.HTTPSPort, 0, math.MaxUint16, &b.HTTPSPort)
	switch {
	case b.HTTPPort != b.HTTPSPort:
		return
	case b.HTTPPort == 0:
		b.wrong("httpPort", "without an HTTP port and an HTTPS port nobody can connect")
	default:
		b.wrong("httpsPort", "port %d is that of HTTP, too", b.HTTPPort)
	}
	b.HTTPPort, b.HTTPSPort = base.HTTPPort, base.HTTPSPort
}

func (b *settingsBuilder) public(spec v1alpha1.PublicPorts) {
	number(b, "publicPorts.http", spec.HTTP, 1, math.MaxUint16, &b.Public.HTTP)
	number(b, "publicPorts.https", spec.HTTPS, 1, math.MaxUint16, &b.Public.HTTPS)
}

func (b *settingsBuilder) proxyProtocol(spec *v1alpha1.ProxyProtocol) {
	if spec == nil {
		return
	}
	read := &ProxyProtocol{Optional: spec.Optional}
	before := len(b.faults)
	for i, text := range spec.From {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			b.wrong(fmt.Sprintf("proxyProtocol.from[%d]", i), "%q is no CIDR block, such as 10.0.0.0/8", text)
			continue
		}
		read.From = append(read.From, prefix.Masked())
	}
	if len(b.faults) > before {
		return // a part of the list would refuse load balancers, or admit strangers
	}
	slices.SortFunc(read.From, netip.Prefix.Compare)
	read.From = slices.Compact(read.From)
	b.ProxyProtocol = read
}

func (b *settingsBuilder) identity(spec v1alpha1.GatewayConfigSpec) {
	number(b, "trustedHops", spec.TrustedHops, 0, maxTrustedHops, &b.TrustedHops)
	choose(b, "escapedSlashes", spec.EscapedSlashes, EscapedSlashesChoices(), &b.EscapedSlashes)
	choose(b, "repeatedSlashes", spec.RepeatedSlashes, RepeatedSlashesChoices(), &b.RepeatedSlashes)
	choose(b, "underscoresInHeaders", spec.UnderscoresInHeaders, UnderscoresChoices(), &b.UnderscoresInHeaders)
	choose(b, "headerCase", spec.HeaderCase, HeaderCaseChoices(), &b.HeaderCase)
	if spec.GRPCWeb != nil {
		b.GRPCWeb = *spec.GRPCWeb
	}
	choose(b, "serverHeader", spec.ServerHeader, ServerHeaderChoices(), &b.ServerHeader)
}

// choose reads one of a few words.
func choose[C ~string](b *settingsBuilder, field string, text *string, choices []C, into *C) {
	switch {
	case text == nil:
	case slices.Contains(choices, C(*text)):
		*into = C(*text)
	default:
		b.wrong(field, "%q is none of %s", *text, List(choices))
	}
}

func (b *settingsBuilder) timeouts(spec v1alpha1.Timeouts) {
	b.duration("timeouts.idle", spec.Idle, leastIdle, &b.IdleTimeout)
	b.duration("timeouts.streamIdle", spec.StreamIdle, 0, &b.StreamIdleTimeout)
	b.duration("timeouts.requestHeaders", spec.RequestHeaders, 0, &b.RequestHeadersTimeout)
	b.duration("timeouts.request", spec.Request, 0, &b.RequestTimeout)
	b.duration("timeouts.connect", spec.Connect, leastConnect, &b.ConnectTimeout)
	b.duration("timeouts.upstreamIdle", spec.UpstreamIdle, leastUpstreamIdle, &b.UpstreamIdleTimeout)
}

// duration reads a duration that is at least so long; with least 0 it may be "0s",
// for none.
func (b *settingsBuilder) duration(field string, text *v1alpha1.Duration, least time.Duration, into *time.Duration) {
	if text == nil {
		return
	}
	value, err := time.ParseDuration(string(*text))
	switch {
	case err != nil || strings.Trim(string(*text), "0123456789hms") != "":
		b.wrong(field, "%q is no duration, such as 90s or 1h30m", *text)
	case value < least:
		b.wrong(field, "%s is less than %s", *text, least)
	default:
		*into = value
	}
}

func (b *settingsBuilder) outlierDetection(spec v1alpha1.OutlierDetection) {
	if spec.Enabled != nil {
		b.OutlierDetection.Enabled = *spec.Enabled
	}
	base := b.OutlierDetection
	b.duration("outlierDetection.baseEjectionTime", spec.BaseEjectionTime, leastEjection, &b.OutlierDetection.BaseEjectionTime)
	b.duration("outlierDetection.maxEjectionTime", spec.MaxEjectionTime, leastEjection, &b.OutlierDetection.MaxEjectionTime)
	if o := b.OutlierDetection; o.MaxEjectionTime < o.BaseEjectionTime {
		b.wrong("outlierDetection.maxEjectionTime", "%s is less than baseEjectionTime, %s", o.MaxEjectionTime, o.BaseEjectionTime)
		b.OutlierDetection.BaseEjectionTime, b.OutlierDetection.MaxEjectionTime = base.BaseEjectionTime, base.MaxEjectionTime
	}
}

func (b *settingsBuilder) limits(spec v1alpha1.Limits) {
	if size, ok := b.bytes("limits.requestBody", spec.RequestBody); ok {
		b.MaxRequestBody = size
	}
	b.headerSize("limits.requestHeaders", spec.RequestHeaders, &b.MaxRequestHeaders)
	number(b, "limits.requestHeaderCount", spec.RequestHeaderCount, 1, maxHeaderCount, &b.MaxRequestHeaderCount)
	b.headerSize("limits.responseHeaders", spec.ResponseHeaders, &b.MaxResponseHeaders)
	number(b, "limits.responseHeaderCount", spec.ResponseHeaderCount, 1, maxHeaderCount, &b.MaxResponseHeaderCount)
}

// headerSize reads the bound of all headers together, in KiB.
func (b *settingsBuilder) headerSize(field string, quantity *resource.Quantity, into *uint32) {
	switch size, ok := b.bytes(field, quantity); {
	case !ok:
	case size < 1<<10 || size > maxHeaderSize || size%(1<<10) != 0:
		b.wrong(field, "%s is no whole number of Ki between 1Ki and 8Mi", quantity)
	default:
		*into = uint32(size >> 10)
	}
}

func (b *settingsBuilder) bytes(field string, quantity *resource.Quantity) (int64, bool) {
	if quantity == nil {
		return 0, false
	}
	size := quantity.Value() // rounds up, and is at its bound beyond it
	if size < 0 || quantity.CmpInt64(size) != 0 {
		b.wrong(field, "%s is no number of bytes, such as 10Mi", quantity)
		return 0, false
	}
	return size, true
}

func (b *settingsBuilder) accessLog(spec v1alpha1.AccessLog) {
	if spec.Enabled != nil {
		b.AccessLog = *spec.Enabled
	}
	var fields []LogField
	for i, name := range spec.Fields {
		if field := LogField(name); slices.Contains(LogFields(), field) {
			fields = append(fields, field)
		} else {
			b.wrong(fmt.Sprintf("accessLog.fields[%d]", i), "there is no field %q", name)
		}
	}
	if len(fields) > 0 {
		slices.Sort(fields)
		b.AccessLogFields = slices.Compact(fields)
	}
	b.headers("accessLog.requestHeaders", spec.RequestHeaders, &b.AccessLogRequestHeaders)
	b.headers("accessLog.responseHeaders", spec.ResponseHeaders, &b.AccessLogResponseHeaders)
}

func (b *settingsBuilder) headers(field string, names []v1alpha1.HeaderName, into *[]string) {
	var headers []string
	for i, name := range names {
		header := strings.ToLower(string(name))
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !isHeader(header):
			b.wrong(at, "%q is no name of a header", name)
		case isSecret(header):
			b.wrong(at, "%s carries credentials, which do not belong in a log", name)
		default:
			headers = append(headers, header)
		}
	}
	if len(headers) > 0 {
		slices.Sort(headers)
		*into = slices.Compact(headers)
	}
}

// isHeader reports whether a name in lower case can be that of a header.
func isHeader(name string) bool {
	return name != "" && len(name) <= maxHeaderName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && name[0] != '-'
}

// number reads a number within bounds.
func number[N uint16 | uint32](b *settingsBuilder, field string, value *int32, least, most int32, into *N) {
	switch {
	case value == nil:
	case *value < least || *value > most:
		b.wrong(field, "%d is not between %d and %d", *value, least, most)
	default:
		*into = N(*value)
	}
}
