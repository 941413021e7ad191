package certificate

import "os"

// SystemAuthorities returns the certificates, in PEM, that this machine trusts; empty,
// but not nil, if there are none. They verify backends whose Services say "system".
// $SSL_CERT_FILE names another file. unusable is called with each file that exists and
// cannot be used.
func SystemAuthorities(getenv func(string) string, unusable func(file, fault string)) []byte {
	files := []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, distroless
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS
		"/etc/ssl/cert.pem",                                 // Alpine, BSD
	}
	if file := getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		roots, fault := ParseAuthorities(text)
		if fault == "" {
			return roots
		}
		unusable(file, fault)
	}
	return []byte{}
}
