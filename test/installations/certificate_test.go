package installations_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
)

// dnsNames are those of the first certificate in PEM.
func dnsNames(t *testing.T, text []byte) []string {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("there is no certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate.DNSNames
}
