package acme

import (
	"crypto/x509/pkix"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/fairwaynet/fairway/test/authority"
)

// writeIdentity writes a certificate for 127.0.0.1 and its key to these files. It
// returns the signer's certificate in PEM.
func writeIdentity(certificate, key string) ([]byte, error) {
	signer, err := authority.New("pebble's signer", 24*time.Hour)
	if err != nil {
		return nil, err
	}
	id, err := signer.Issue(pkix.Name{CommonName: "pebble"}, nil, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return nil, err
	}
	return signer.PEM(), errors.Join(os.WriteFile(certificate, id.Certificate, 0o600), os.WriteFile(key, id.Key, 0o600))
}
