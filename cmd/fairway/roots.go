package main

import (
	"os"

	"github.com/go-logr/logr"

	"github.com/fairwaynet/fairway/tls/certificate"
)

// systemRoots are the certificates, in PEM, that this machine trusts. They verify
// backends whose Services say "system". $SSL_CERT_FILE names another file.
// Without certificates Envoy does not connect to such backends.
func systemRoots(log logr.Logger) []byte {
	files := []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, distroless
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS
		"/etc/ssl/cert.pem",                                 // Alpine, BSD
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		roots, fault := certificate.ParseAuthorities(text)
		if fault == "" {
			return roots
		}
		log.Info("the system's certificates cannot be used", "file", file, "fault", fault)
	}
	return []byte{} // known to be empty
}
