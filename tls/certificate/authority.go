package certificate

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/api/pemfile"
)

// maxAuthorities bounds the authorities of one backend: twice as many as an
// operating system trusts.
const maxAuthorities = 512

// ParseAuthorities reads certificates of authorities, in PEM, and returns them with
// nothing else beside them. A fault tells people what is wrong, to be read after "it
// cannot be used: "; then none of them counts.
func ParseAuthorities(text []byte) (certificates []byte, fault string) {
	all, fault := authorities(text)
	if fault != "" {
		return nil, fault
	}
	if len(all) > maxAuthorities {
		return nil, fmt.Sprintf("it holds more than %d certificates", maxAuthorities)
	}
	blocks := make([]pemfile.Block, len(all))
	for i, c := range all {
		blocks[i] = pemfile.Block{Type: blockCertificate, Bytes: c.Raw}
	}
	return pemfile.Encode(blocks), ""
}

// authorities reads certificates. Any other block is a fault: leaving it out would
// silently refuse the peers that it was meant to verify.
func authorities(text []byte) (all []*x509.Certificate, fault string) {
	if len(text) == 0 {
		return nil, "there is no certificate in it"
	}
	blocks, fault := pemfile.Read(text)
	if fault != "" {
		return nil, fault
	}
	for i, block := range blocks {
		c, fault := certificateOf(block)
		if fault != "" {
			return nil, fmt.Sprintf("block %d (line %d) %s", i+1, block.Line, fault)
		}
		all = append(all, c)
	}
	return all, ""
}

// kindOfBlock names a block. It repeats no more of a user's text than a name.
func kindOfBlock(kind string) string {
	switch {
	case strings.HasSuffix(kind, suffixKey):
		return "private key"
	case kind == blockCertificate:
		return "certificate"
	case kind == "X509 CRL":
		return "revocation list (X509 CRL)"
	}
	return fmt.Sprintf("block of type %s", pemfile.Name(kind))
}
