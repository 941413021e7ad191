package cluster

import (
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"os"

	"github.com/fairwaynet/fairway/test/authority"
)

// writeServerKeys writes the files that kube-apiserver's flags name.
func (c *Cluster) writeServerKeys() error {
	server, err := c.authority.Issue(pkix.Name{CommonName: "kube-apiserver"}, nil, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return err
	}
	tokens, err := authority.NewKey()
	if err != nil {
		return err
	}
	signing, err := authority.EncodeKey(tokens)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt":        c.authority.PEM(),
		"apiserver.crt": server.Certificate,
		"apiserver.key": server.Key,
		"tokens.key":    signing,
	} {
		if err := os.WriteFile(c.path(name), content, 0o600); err != nil {
			return fmt.Errorf("write keys: %w", err)
		}
	}
	return nil
}
