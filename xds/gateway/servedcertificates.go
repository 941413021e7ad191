package gateway

import (
	"cmp"
	"crypto/x509"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairwaynet/fairway/xds/proof"
)

// maxExpiries bounds the samples of the expiry metric, to the certificates that expire
// first.
const maxExpiries = 50

// servedCertificate is the certificate that clients of this Envoy get under a name.
type servedCertificate struct {
	version string
	serial  string // hexadecimal
	until   time.Time
}

func (p *Prover) record(statement proof.Statement, leaf *x509.Certificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served[statement.Name] = servedCertificate{statement.Version(), leaf.SerialNumber.Text(16), leaf.NotAfter}
}

func (p *Prover) forget(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		delete(p.served, name)
	}
}

func (p *Prover) forgetAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = map[string]servedCertificate{}
}

// versions are the versions of all proofs, for the next controller.
func (p *Prover) versions() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	versions := make(map[string]string, len(p.served))
	for name, s := range p.served {
		versions[name] = s.version
	}
	return versions
}

// The metrics, as docs/metrics.md explains them.
func proofMetrics() (certificates, expiry *prometheus.Desc) {
	return prometheus.NewDesc("fairway_gateway_certificates",
			"Server names and wildcards whose certificate Envoy was seen to serve.", nil, nil),
		prometheus.NewDesc("fairway_gateway_certificate_expiry_timestamp_seconds",
			"When a certificate expires that Envoy was seen to serve; of those that do so first.", []string{"name", "serial"}, nil)
}

// Describe implements prometheus.Collector.
func (p *Prover) Describe(out chan<- *prometheus.Desc) {
	certificates, expiry := proofMetrics()
	out <- certificates
	out <- expiry
}

// Collect implements prometheus.Collector.
func (p *Prover) Collect(out chan<- prometheus.Metric) {
	certificates, expiry := proofMetrics()
	n, first := p.expiringFirst()
	out <- prometheus.MustNewConstMetric(certificates, prometheus.GaugeValue, float64(n))
	for _, s := range first {
		out <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(s.until.Unix()), s.name, s.serial)
	}
}

type namedCertificate struct {
	servedCertificate

	name string
}

// expiringFirst returns the number of certificates, and those that expire first.
func (p *Prover) expiringFirst() (n int, first []namedCertificate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, s := range p.served {
		first = append(first, namedCertificate{s, name})
	}
	slices.SortFunc(first, func(a, b namedCertificate) int {
		return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.name, b.name))
	})
	return len(first), first[:min(len(first), maxExpiries)]
}
