package certificate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/fairwaynet/fairway/api/pemfile"
	"github.com/fairwaynet/fairway/api/secret"
)

// The types of PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	suffixKey        = "PRIVATE KEY"
)

// minRSA is the size in bits of the smallest RSA key that Envoy takes.
const minRSA = 2048

// MaxSize bounds a chain in bytes, and a key. A Secret can hold 1 MiB, and no client
// would wait for such a chain.
const MaxSize = 256 << 10

// Parse reads a chain and its key from PEM, and puts the chain into order. A fault
// tells people why they cannot be served, to be read after "the Secret cannot be
// used: ". It tells no more of the key than its type.
func Parse(chainPEM, keyPEM []byte) (c *Certificate, fault string) {
	all, fault := certificates(chainPEM)
	if fault != "" {
		return nil, fault
	}
	key, block, fault := privateKey(keyPEM)
	if fault != "" {
		return nil, fault
	}
	if fault := unsupported(key); fault != "" {
		return nil, fault
	}
	_, isRSA := key.(*rsa.PrivateKey)
	for _, leaf := range all {
		if belongs(key, leaf) {
			return &Certificate{
				RSA:   isRSA,
				Chain: chainOf(leaf, all), Key: secret.New(pem.EncodeToMemory(block)),
				NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
				Serial: leaf.SerialNumber.Text(16), DNSNames: namesOf(leaf),
			}, ""
		}
	}
	return nil, "the key does not belong to the certificate"
}

// ValidAt tells people why clients do not accept the certificate at that time; empty
// if they do.
func (c *Certificate) ValidAt(now time.Time) (fault string) {
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("the certificate expired on %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("the certificate is not valid before %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return ""
}

// certificates reads the certificates of a chain. It ignores a key in the same file,
// which some servers want there.
func certificates(text []byte) (all []*x509.Certificate, fault string) {
	if len(text) > MaxSize {
		return nil, fmt.Sprintf("the chain is larger than %d bytes", MaxSize)
	}
	if len(text) == 0 {
		return nil, "there is no certificate in it"
	}
	blocks, fault := pemfile.Read(text)
	if fault != "" {
		return nil, "the chain cannot be read: " + fault
	}
	for i, block := range blocks {
		if isBesideChain(block.Type) {
			continue
		}
		c, fault := certificateOf(block)
		if fault != "" {
			return nil, fmt.Sprintf("block %d of the chain (line %d) %s", i+1, block.Line, fault)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, fmt.Sprintf("there is no certificate in the chain, but a %s", kindOfBlock(blocks[0].Type))
	}
	return all, ""
}

// isBesideChain reports whether a block may stand beside certificates and is
// ignored there.
func isBesideChain(kind string) bool {
	return strings.HasSuffix(kind, suffixKey) || kind == "EC PARAMETERS" || kind == "DH PARAMETERS"
}

// certificateOf reads one certificate. A fault is to be read after the block's name.
func certificateOf(block pemfile.Block) (c *x509.Certificate, fault string) {
	switch block.Type {
	case blockCertificate, "X509 CERTIFICATE": // of old versions of OpenSSL
	case "TRUSTED CERTIFICATE":
		return nil, "is a TRUSTED CERTIFICATE of OpenSSL's own; write a plain one: openssl x509 -in FILE"
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return nil, "is a request for a certificate, not the certificate"
	case "PKCS7":
		return nil, "is PKCS #7; take the certificates out: openssl pkcs7 -print_certs -in FILE"
	default:
		return nil, fmt.Sprintf("is a %s, not a certificate", kindOfBlock(block.Type))
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, "cannot be read as a certificate: " + reason(err)
	}
	return c, ""
}

// reason is an error of crypto/x509 without the package's name.
func reason(err error) string { return strings.TrimPrefix(err.Error(), "x509: ") }

// privateKey finds the key. A fault does not repeat its bytes.
func privateKey(text []byte) (key crypto.Signer, found *pem.Block, fault string) {
	if len(text) > MaxSize {
		return nil, nil, fmt.Sprintf("the key is larger than %d bytes", MaxSize)
	}
	if len(text) == 0 {
		return nil, nil, "there is no key in it"
	}
	blocks, fault := pemfile.Read(text)
	if fault != "" {
		return nil, nil, "the key cannot be read: " + fault
	}
	for i, block := range blocks {
		if !strings.HasSuffix(block.Type, suffixKey) {
			continue // of curve parameters, or its certificate
		}
		where := fmt.Sprintf("(block %d, line %d)", i+1, block.Line)
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
			return nil, nil, fmt.Sprintf("the key %s is protected by a password", where)
		case block.Type == "OPENSSH PRIVATE KEY":
			return nil, nil, fmt.Sprintf("the key %s is one of OpenSSH's; convert it: ssh-keygen -p -m PKCS8 -f FILE", where)
		}
		key := readKey(block.Bytes)
		if key == nil {
			return nil, nil, fmt.Sprintf("the key %s cannot be read", where)
		}
		return key, &pem.Block{Type: block.Type, Bytes: block.Bytes}, ""
	}
	return nil, nil, fmt.Sprintf("there is no private key in it, but a %s", kindOfBlock(blocks[0].Type))
}

func readKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// unsupported tells people why Envoy does not take keys of that kind.
func unsupported(key crypto.Signer) (fault string) {
	const can = "use RSA of 2048 bits or more, or ECDSA on P-256, P-384 or P-521"
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSA {
			return fmt.Sprintf("an RSA key of %d bits is too short; %s", bits, can)
		}
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P224() {
			return "keys on the curve P-224 are not supported; " + can
		}
	case ed25519.PrivateKey:
		return "Ed25519 keys are not supported; " + can
	default:
		return "keys of this kind are not supported; " + can
	}
	return ""
}

// belongs reports whether key is that of the certificate.
func belongs(key crypto.Signer, c *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}
