package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
)

// maxAuthorities bounds how many certificates vouch for one backend: twice what
// an operating system trusts.
const maxAuthorities = 512

// ParseAuthorities reads the certificates, in PEM, that vouch for others, and
// returns them with nothing else beside them. A fault says for people what is
// wrong; then none of them counts.
func ParseAuthorities(text []byte) (certificates []byte, fault string) {
	var out bytes.Buffer
	count := 0
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != blockCertificate {
			return nil, "it holds a " + kindOfBlock(block.Type) + ", and should hold certificates only"
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, "one of its certificates cannot be read"
		}
		if count++; count > maxAuthorities {
			return nil, "it holds too many certificates"
		}
		if err := pem.Encode(&out, &pem.Block{Type: blockCertificate, Bytes: block.Bytes}); err != nil {
			return nil, "one of its certificates cannot be written"
		}
	}
	if count == 0 {
		return nil, "there is no certificate in it"
	}
	return out.Bytes(), ""
}

// kindOfBlock names a block without repeating what a stranger wrote.
func kindOfBlock(kind string) string {
	switch kind {
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY":
		return "private key"
	case "X509 CRL":
		return "revocation list"
	default:
		return "block that is no certificate"
	}
}
