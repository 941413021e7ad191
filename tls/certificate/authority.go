package certificate

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/fairwaynet/fairway/api/pemfile"
)

// maxAuthorities bounds how many certificates vouch for one backend: twice what
// an operating system trusts.
const maxAuthorities = 512

// ParseAuthorities reads the certificates, in PEM, that vouch for others, and
// returns them with nothing else beside them. A fault says for people what is
// wrong, as what follows "it cannot be used: "; then none of them counts.
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

// authorities reads certificates and nothing else: to leave out a block would
// close out whom it vouches for, without a word.
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

// kindOfBlock names a block without repeating more than a name of what a stranger
// wrote.
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
